"""An idle server is touched, in a slot where that costs nothing, and at no other time."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.lang.profile import Profile
from gptoss_flow.server import verbs
from gptoss_flow.server.guardian.keepalive import mark_of, slot_to_touch
from gptoss_flow.server.probe import ask
from gptoss_flow.server.process import Kept, Lease
from gptoss_flow.server.record import ServerRecord, list_servers, read_key
from tests.conftest import need
from tests.server.conftest import SystemClock
from tests.server.world import in_loop

MARK = 7
Start = Callable[..., Any]


def slot(number: int, task: int, seed: int, *, busy: bool = False) -> dict[str, Any]:
    return {"id": number, "id_task": task, "is_processing": busy, "params": {"seed": seed}}


@pytest.mark.parametrize(
    ("slots", "displaces", "expected"),
    [
        ([slot(0, 1, MARK), slot(1, 2, MARK)], False, 1),
        ([slot(0, 9, 0), slot(1, 2, MARK)], False, 1),
        ([slot(0, 9, 0), slot(1, -1, MARK)], False, 1),
        ([slot(0, 9, 0), slot(1, 8, 0)], True, 1),
        ([slot(0, 9, 0), slot(1, 8, 0)], False, "every slot holds a prompt of its users"),
        ([slot(0, 9, MARK), slot(1, 8, 0, busy=True)], True, "a request runs"),
        ([slot(0, 9, MARK)], True, "its only slot is left to its users"),
        ([{"id": 0, "is_processing": False}, {"id": 1, "is_processing": False}], False, 1),
    ],
)
def test_the_slot_to_touch_is_ours_or_costs_nobody_anything(
    slots: list[dict[str, Any]], displaces: bool, expected: int | str
) -> None:
    assert slot_to_touch(slots, MARK, displaces=displaces) == expected


@pytest.fixture
def start(profile: Callable[..., Profile], model: Path, state_root: Path, clock: SystemClock) -> Start:
    """Starts a server that stays, with `keepalive` and other keys, and gives its record."""

    async def start(script: dict[str, Any] | None = None, **keys: Any) -> ServerRecord:
        made = profile(script, **{"warmup": {"count": 1}, **keys})
        await verbs.start(made, model, state_root=state_root, on_change=lambda *_: None, clock=clock)
        (record,) = list_servers(state_root)
        return record

    return start


async def look(record: ServerRecord) -> Kept:
    lease = await Lease.look(Path(record.socket))
    assert lease
    await lease.close()
    return lease.kept


async def until_told(record: ServerRecord, claim: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
    began = time.monotonic()
    while not claim(told := (await look(record)).keepalive):
        assert time.monotonic() - began < 20, told
    return told


async def asked(record: ServerRecord, path: str, body: dict[str, Any] | None = None) -> Any:
    key = read_key(Path(record.folder))
    return (await asyncio.to_thread(ask, record.url, path, key=key, body=body, timeout_s=60)).body


@in_loop
async def test_an_idle_server_is_touched_in_one_slot_only(start: Start) -> None:
    record = await start(keepalive={"every": 0.05, "max_tokens": 1})
    told = await until_told(record, lambda told: told["touches"] >= 3)
    assert (told["every_s"], told["max_tokens"]) == (0.05, 1)
    assert told["last_at"] > record.started_at and told["last_took_s"] > 0
    first, second = await asked(record, "/slots")
    assert {first["params"]["seed"], second["params"]["seed"]} == {mark_of(record.nonce)}
    assert min(first["id_task"], second["id_task"]) <= 2  # as the warm-up left it
    await verbs.stop_server(record)


@in_loop
async def test_a_user_that_pauses_it_stops_it_until_it_resumes_or_dies(start: Start) -> None:
    record = await start(keepalive=0.02)
    lease = await Lease.attach(Path(record.socket), 0)
    assert lease
    for end in (lease.resume, lease.close):
        lease.pause()
        told = await until_told(record, lambda told: told["waits"] == "its users' requests run")
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            assert (await look(record)).keepalive["touches"] == told["touches"]
        if (ending := end()) is not None:
            await ending
        await until_told(record, lambda now, before=told: now["touches"] > before["touches"])  # type: ignore[misc]
    await verbs.stop_server(record)


@in_loop
async def test_the_only_slot_of_a_server_is_never_taken(start: Start) -> None:
    record = await start(parallel=1, keepalive=0.02)
    told = await until_told(record, lambda told: told["waits"] == "its only slot is left to its users")
    assert told["touches"] == 0
    await verbs.stop_server(record)


@in_loop
async def test_the_most_frequent_keepalive_of_its_users_counts_and_what_is_said_by_hand_before_all(
    start: Start,
) -> None:
    record = await start()
    assert (await look(record)).keepalive["every_s"] == 0
    assert (await start(keepalive=0.3)).pid == record.pid
    await start(keepalive=0.5)
    assert (await look(record)).keepalive["every_s"] == 0.3
    assert (await verbs.keep_alive(record, 0.0, 1)).keepalive["every_s"] == 0
    await start(keepalive=0.1)
    assert (await look(record)).keepalive["every_s"] == 0
    await verbs.keep_alive(record, 0.02, 3)
    await until_told(record, lambda told: told["touches"] > 0 and told["max_tokens"] == 3)
    await verbs.stop_server(record)


@in_loop
async def test_the_pid_file_names_the_guardian_and_goes_with_the_keepalive(start: Start, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    record = await start(keepalive={"every": 60, "pid_file": str(pid_file)})
    assert int(pid_file.read_text()) == record.guardian_pid
    await verbs.keep_alive(record, 0.0, 1)
    assert not pid_file.exists()
    await verbs.keep_alive(record, 60.0, 1)
    assert pid_file.exists()
    await verbs.stop_server(record)
    assert not pid_file.exists()


@in_loop
async def test_a_pid_file_that_another_keeper_wrote_is_left_alone(start: Start, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    record = await start(keepalive={"every": 60, "pid_file": str(pid_file)})
    pid_file.write_text(f"{os.getpid()}\n")
    await verbs.stop_server(record)
    assert int(pid_file.read_text()) == os.getpid()


@in_loop
async def test_a_server_that_does_not_tell_its_slots_is_left_alone(start: Start) -> None:
    record = await start({"answers": {"/slots": {"status": 501, "body": "{}"}}}, keepalive=0.02)
    told = await until_told(record, lambda told: told["waits"] != "")
    assert told["waits"] == "it cannot be asked: /slots gives status 501" and told["touches"] == 0
    await verbs.stop_server(record)


@pytest.mark.real
@in_loop
async def test_a_cached_prefix_in_any_slot_survives_touches(
    demo_model: Path, state_root: Path, clock: SystemClock
) -> None:
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
    keys = {"name": "demo", "engine": "embedded", "parallel": 2, "context": 512, "threads": 1}
    made = Profile.model_validate({**keys, "warmup": {"count": 1, "max_tokens": 1}, "keepalive": 0.1})
    await verbs.start(made, demo_model, state_root=state_root, on_change=lambda *_: None, clock=clock)
    (record,) = list_servers(state_root)
    prompts = [("A quick brown fox jumps. " * 12), ("Three kings met at the river. " * 12)]
    bodies = [
        {"prompt": (await asked(record, "/tokenize", {"content": text}))["tokens"], "n_predict": 2}
        for text in prompts
    ]

    async def cached(number: int, **more: int) -> int:
        answer = await asked(record, "/completion", bodies[number] | more)
        return int(answer["timings"]["cache_n"])

    async def touched(times: int) -> None:
        before = (await look(record)).keepalive["touches"]
        await until_told(record, lambda told: told["touches"] >= before + times)

    await cached(0)
    full = await cached(0)
    assert full == len(bodies[0]["prompt"]) - 1
    await touched(3)
    assert await cached(0) == full
    # Both slots with users' prompts: one makes room, and comes back from the server's memory.
    await asyncio.gather(cached(0, id_slot=0), cached(1, id_slot=1))
    await touched(3)
    assert await cached(0) == full
    assert await cached(1) == len(bodies[1]["prompt"]) - 1
    await verbs.stop_server(record)
