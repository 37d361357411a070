"""gptoss-flow: declarative pipelines for local models, run against a managed llama.cpp server.

The names below are the library: `from gptoss_flow import run_flow_sync`. Each is loaded when it is first asked
for: the command line and the guardians of servers, which have no use for them, are to be quick.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gptoss_flow.app.finished import Finished as Finished
    from gptoss_flow.errors import FlowError as FlowError
    from gptoss_flow.errors import Invalid as Invalid
    from gptoss_flow.errors import StepError as StepError
    from gptoss_flow.errors import Unavailable as Unavailable
    from gptoss_flow.events import Event as Event
    from gptoss_flow.library.client import Client as Client
    from gptoss_flow.library.flows import compile_flow as compile_flow
    from gptoss_flow.library.flows import load_flow as load_flow
    from gptoss_flow.library.flows import run_flow as run_flow
    from gptoss_flow.library.flows import run_flow_sync as run_flow_sync
    from gptoss_flow.library.harmony_renderer import HarmonyRenderer as HarmonyRenderer
    from gptoss_flow.library.servers import ServerManager as ServerManager
    from gptoss_flow.library.session import Session as Session
    from gptoss_flow.ports import Generation as Generation
    from gptoss_flow.ports import Message as Message
    from gptoss_flow.ports import ToolContext as ToolContext
    from gptoss_flow.tool_marks import tool as tool

__version__ = "0.1.0"

_HOMES = {
    "load_flow": "library.flows",
    "compile_flow": "library.flows",
    "run_flow": "library.flows",
    "run_flow_sync": "library.flows",
    "Finished": "app.finished",
    "Event": "events",
    "Client": "library.client",
    "HarmonyRenderer": "library.harmony_renderer",
    "Session": "library.session",
    "ServerManager": "library.servers",
    "Message": "ports",
    "Generation": "ports",
    "ToolContext": "ports",
    "tool": "tool_marks",
    "FlowError": "errors",
    "Invalid": "errors",
    "Unavailable": "errors",
    "StepError": "errors",
}
"""Public name to the module that it is in."""

__all__ = [*_HOMES, "__version__"]  # all of them are text


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(__import__(f"{__name__}.{_HOMES[name]}", fromlist=[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
