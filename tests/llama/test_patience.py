"""Silence is limited, and a suspension is no silence."""

from __future__ import annotations

import asyncio
import time

import pytest

from gptoss_flow.llama import patience
from gptoss_flow.llama.patience import silence_limit


def test_silence_ends_at_its_limit() -> None:
    async def wait() -> float:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with silence_limit(0.1):
                await asyncio.Event().wait()
        return time.monotonic() - began

    assert 0.09 < asyncio.run(wait()) < 2


def test_what_comes_in_time_is_taken() -> None:
    async def wait() -> str:
        async with silence_limit(5):
            await asyncio.sleep(0)
            return "came"

    assert asyncio.run(wait()) == "came"


def test_time_in_which_the_process_did_not_run_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SLICE_S", 0.02)

    async def wait() -> str:
        came = asyncio.Event()
        async with silence_limit(0.4):
            asyncio.get_running_loop().call_later(0.9, came.set)
            await asyncio.sleep(0)
            time.sleep(1)  # noqa: ASYNC251  # as if suspended: nothing of this loop runs meanwhile
            await came.wait()
        return "came"

    assert asyncio.run(wait()) == "came"
