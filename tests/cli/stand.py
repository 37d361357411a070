"""A project whose servers are stand-ins for llama-server."""

from __future__ import annotations

import json
import sys
from typing import Any

from gptoss_flow.testing.project import Project

PROFILE = """\
engine: llama-server
binary: ../llama-server
model: {path: ../small.gguf}
parallel: 2
context: 512
threads: 1
"""


class Stand(Project):
    """A project with the profile `small`, whose server is a stand-in."""

    def profile(self, name: str, more: str = "", **script: Any) -> None:
        """`script`: how the stand-in behaves, see `testing.replies.Script`."""
        path = self.write(
            f"llama-server{name}",
            f"#!{sys.executable}\nimport sys\n"
            "from gptoss_flow.testing.fake_llama_server import main\n"
            "from gptoss_flow.testing.replies import read_script\n"
            f"sys.exit(main(script=read_script({json.dumps(json.dumps(script))})))\n",
        )
        path.chmod(0o755)
        text = PROFILE.replace("../llama-server", f"../llama-server{name}")
        self.write(f"profiles/{name}.yaml", text + more)

    def ps(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.run("server", "ps", "--json").json
        return listed
