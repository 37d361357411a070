import asyncio
import os
from pathlib import Path

import pytest

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server import registry
from gptoss_flow.server.registry import Place
from tests.server.conftest import SystemClock
from tests.server.world import in_loop


def digits(model: Path, engine: str = "build 1", environment: str = "", key: str = "", **keys: object) -> str:
    load_time = Profile.model_validate(keys).load_time()
    return registry.fingerprint(engine, model, load_time, {"OMP_NUM_THREADS": environment}, key)


def test_users_that_differ_in_how_they_ask_share_a_fingerprint(model: Path) -> None:
    assert digits(model) == digits(
        model, name="x", request={"temperature": 0.5}, idle_timeout="10m", warmup={"count": 2}
    )


def test_everything_else_makes_another_fingerprint(model: Path) -> None:
    given = [digits(model), digits(model, context=99), digits(model, "build 2"), digits(model, environment="2")]
    given += [digits(model, key="other"), digits(model, env={"A": "b"}), digits(model, extra_args=["--x"])]
    os.utime(model, (1, 1))
    given.append(digits(model))
    assert len(set(given)) == len(given)


def test_a_model_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        digits(tmp_path / "none.gguf")


@in_loop
async def test_only_one_is_inside_the_lock(tmp_path: Path) -> None:
    place, inside, most = Place(tmp_path, "f"), 0, 0

    async def enter() -> None:
        nonlocal inside, most
        async with place.lock(SystemClock()):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(enter() for _ in range(8)))
    assert (inside, most) == (0, 1)


def test_the_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    place = Place(tmp_path / "servers" / "f", "f")
    place.make()
    place.write_key("s3cret")
    assert place.key() == "s3cret"
    assert (place.folder / "key").stat().st_mode & 0o777 == 0o600 and place.folder.stat().st_mode & 0o777 == 0o700
    place.discard()
    assert place.key() is None


def test_the_tail_of_a_log_begins_at_the_last_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("[one]\nold error\n[two]\nnew line\n")
    assert registry.log_tail(log, "[two]") == "new line\n"
    assert registry.log_tail(log, max_bytes=9) == "new line\n"
    assert registry.log_tail(tmp_path / "none") == ""
