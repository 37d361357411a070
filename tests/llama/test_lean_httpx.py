"""What is imported when, of the HTTP client: seen in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys

FIRST_REQUEST = """
import asyncio, sys
from gptoss_flow.llama.lean_httpx import httpx, preload
assert not {"click", "rich", "pygments", "httpcore"} & {*sys.modules}, "httpx brought more than it needs"
preload().join()
known = {*sys.modules}
async def ask():
    async with httpx.AsyncClient(verify=False, trust_env=False) as client:
        try:
            await client.get("http://127.0.0.1:1")
        except httpx.ConnectError:
            pass
asyncio.run(ask())
print(*({*sys.modules} - known))
"""


def test_a_preloaded_client_imports_nothing_at_its_first_request() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_REQUEST], capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == ([], "")
