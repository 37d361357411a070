"""`truncate_tokens` outside of a prompt: by the tokenizer of the step's server, else of the flow's only one."""

from __future__ import annotations

import asyncio
import re

import pytest

from gptoss_flow.errors import ExitCode, Invalid, Unavailable
from gptoss_flow.events import StepStarted, TextCut
from gptoss_flow.ports import Model
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.run.ends import RunResult
from gptoss_flow.testing.scripted_model import Script, ScriptedModels
from tests.run.running import Run, compiled

LONG = "one two three four five six seven"
EVERYWHERE = f"""\
version: 1
vars:
  long: {LONG}
  short: ${{{{ vars.long | truncate_tokens(2) }}}}
  shorter: ${{{{ vars.short | truncate_tokens(1) }}}}!
  other: plain
steps:
  set: {{set: {{v: "${{{{ vars.long | truncate_tokens(3) }}}}"}}}}
  yes: {{when: "${{{{ vars.long | truncate_tokens(1) == 'one' }}}}", set: {{v: 1}}}}
  no: {{when: "${{{{ vars.long | truncate_tokens(1) == vars.long }}}}", set: {{v: 1}}}}
  each:
    foreach: "${{{{ [vars.long, 'eight nine ten'] | map('truncate_tokens', 2) | list }}}}"
    when: ${{{{ item | truncate_tokens(1) != '' }}}}
    expect: ["(output.v | truncate_tokens(1)) in ('one', 'eight')"]
    set: {{v: "${{{{ item }}}}"}}
  grid: {{matrix: {{x: "${{{{ [vars.long | truncate_tokens(1)] }}}}"}}, set: {{v: "${{{{ matrix.x }}}}"}}}}
  again:
    repeat: {{max: 3, until: "(output.v | truncate_tokens(1)) == 'two'"}}
    set: {{v: "${{{{ ['one', 'two three'][loop.index0] }}}}"}}
  sure: {{check: ["(vars.long | truncate_tokens(1)) == 'one'"]}}
  inner: {{flow: inner.yaml}}
outputs:
  vars: ${{{{ vars.short }}}}|${{{{ vars.shorter }}}}|${{{{ vars.other }}}}
  cut: ${{{{ vars.long | truncate_tokens(4) }}}}
  each: ${{{{ steps.each.output }}}}
  inner: ${{{{ steps.inner.output }}}}
"""
INNER = f"""\
version: 1
vars: {{short: "${{{{ '{LONG}' | truncate_tokens(2) }}}}"}}
steps: {{a: {{set: {{v: "${{{{ vars.short }}}}"}}}}}}
outputs: {{said: "${{{{ steps.a.output.v | truncate_tokens(1) }}}}"}}
"""


class Slow(ScriptedModels):
    """The server takes until it is told to be ready; `asked` says that somebody waits for it."""

    def __init__(self) -> None:
        super().__init__(Script(default="fine"), SystemClock())
        self.asked, self.ready = asyncio.Event(), asyncio.Event()

    async def get(self, server: str) -> Model:
        self.asked.set()
        await self.ready.wait()
        return await super().get(server)


class Gone(ScriptedModels):
    def __init__(self) -> None:
        super().__init__(Script(default="fine"), SystemClock())

    async def get(self, server: str) -> Model:
        raise Unavailable("the server is gone")


def test_every_expression_of_a_flow_with_one_server_can_cut() -> None:
    run = Run(EVERYWHERE, files={"inner.yaml": INNER})
    result = run.go()
    assert result.error == ""
    assert result.outputs == {
        "vars": "one two|one!|plain",
        "cut": "one two three four",
        "each": [{"v": "one two"}, {"v": "eight nine"}],
        "inner": {"said": "one"},
    }
    ends = run.ends()
    assert (ends["yes"], ends["no"], ends["set"]) == ("succeeded", "skipped", "succeeded")
    assert run.end("again").output == {"v": "two three"} and run.end("grid[0]").output == {"v": "one"}
    assert {cut.step for cut in run.log.of(TextCut)} >= {"", "set", "yes", "each", "each[1]", "again", "inner"}
    assert {cut.server for cut in run.log.of(TextCut)} == {"main"}


def flow(part: str, expression: str) -> str:
    """One step, `a`, that has this expression somewhere."""
    step, more = "{set: {x: 1}}", ""
    if part in ("vars", "outputs"):
        more = f'{part}: {{v: "${{{{ {expression} }}}}"}}\n'
    elif part == "when":
        step = f'{{when: "${{{{ ({expression}) == 1 }}}}", set: {{x: 1}}}}'
    else:
        step = f'{{foreach: "${{{{ [{expression}] }}}}", set: {{x: 1}}}}'
    return f"{more}steps:\n  a: {step}\n"


CUT = "'one two' | truncate_tokens(1)"
TWO_SERVERS = "version: 1\nservers: {one: demo, two: demo}\n"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            "vars",
            "3:11: truncate_tokens here needs a flow with one server; cut it in a step that names its",
        ),
        ("outputs", "3:14: truncate_tokens here needs a flow with one server"),
        ("when", '4:3: truncate_tokens in step "a" needs a flow with one server'),
        ("foreach", '4:3: truncate_tokens in step "a" needs a flow with one server'),
    ],
)
def test_with_several_servers_it_has_to_be_said_which(part: str, said: str) -> None:
    with pytest.raises(Invalid, match=re.escape(f"flow.yaml:{said}")):
        compiled(TWO_SERVERS + flow(part, CUT))


def test_a_prompts_own_server_cuts_its_condition() -> None:
    condition = f"\"${{{{ ({CUT}) == 'one' }}}}\""
    step = f"{{when: {condition}, prompt: {{server: two, user: Hi}}}}"
    run = Run(TWO_SERVERS + f"steps: {{a: {step}}}\n")
    assert run.go().status == "succeeded"
    assert [cut.server for cut in run.log.of(TextCut)] == ["two"]


def test_what_a_server_is_made_of_cannot_wait_for_one() -> None:
    text = f'version: 1\nvars: {{v: "${{{{ {CUT} }}}}", n: "${{{{ vars.v }}}}"}}\n'
    text += 'servers: {main: {extends: demo, seed: "${{ vars.n }}"}}\nsteps: {a: {prompt: {user: Hi}}}\n'
    said = re.escape('flow.yaml:3:39: "vars.n" is cut by truncate_tokens, and no server runs yet')
    with pytest.raises(Invalid, match=said):
        compiled(text)


@pytest.mark.parametrize(
    ("part", "end"), [("when", "failed"), ("foreach", "failed"), ("vars", "skipped"), ("outputs", "succeeded")]
)
def test_a_server_that_cannot_be_had_fails_what_needs_it(part: str, end: str) -> None:
    run = Run("version: 1\n" + flow(part, CUT), models=Gone())
    result = run.go()
    assert (result.status, result.exit_code) == ("failed", ExitCode.UNAVAILABLE)
    assert "the server is gone" in result.error
    assert run.ends() == {"a": end}


@pytest.mark.parametrize("part", ["when", "foreach", "vars"])
def test_an_interrupt_does_not_wait_for_a_server_that_is_to_cut(part: str) -> None:
    async def go() -> tuple[RunResult, Run]:
        models = Slow()
        last = "finally: {f: {set: {s: '${{ run.status }}'}}}\n"
        run = Run("version: 1\n" + flow(part, CUT) + last, models=models)
        running = asyncio.create_task(run.executor.run(models.close))
        await models.asked.wait()
        assert run.executor.interrupt(ExitCode.INTERRUPTED)
        return await asyncio.wait_for(running, 10), run

    result, run = asyncio.run(go())
    assert (result.status, run.ends()["a"]) == ("cancelled", "skipped")
    assert run.ends()["f"] == ("skipped" if part == "vars" else "succeeded")
    assert [event.step for event in run.log.of(StepStarted)] == ([] if part == "vars" else ["f"])
