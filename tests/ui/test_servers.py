"""Servers as text for people: a table, or a block for each where the terminal is too narrow for it."""

from __future__ import annotations

from typing import Any

from gptoss_flow.ui.servers import HEAD, draw_servers

SERVER: dict[str, Any] = {
    "name": "demo", "id": "5ba8dcf1bbaa", "model": "SmolLM2-135M", "size_bytes": 98_000_000, "engine": "embedded",
    "url": "http://127.0.0.1:4000", "context_tokens": 2048, "slots": 4, "users": 0, "state": "ready",
    "stops_in_s": 1800.0, "idle_timeout_s": 1800.0,
}  # fmt: skip


def test_a_table_that_is_too_wide_becomes_blocks() -> None:
    wide = draw_servers([SERVER, SERVER])
    assert [line.split()[0] for line in wide.splitlines()] == ["NAME", "demo", "demo"]
    needed = max(map(len, wide.splitlines()))
    assert draw_servers([SERVER, SERVER], needed) == wide
    narrow = draw_servers([SERVER, SERVER], needed - 1)
    blocks = [block.splitlines() for block in narrow.split("\n\n")]
    assert blocks[0] == blocks[1] and [line.split()[0].upper() for line in blocks[0]] == [*HEAD]
    assert blocks[0][-1] == "until    30 minutes from now"


def test_of_no_server_there_is_the_head_alone() -> None:
    assert draw_servers([], 10).split() == [*HEAD]
