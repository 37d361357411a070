"""`server warm|keepalive|restart`, as a user types them, with a stand-in for llama-server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gptoss_flow.server.process import Lease
from gptoss_flow.server.record import list_servers
from tests.cli.stand import Stand
from tests.server.world import is_dead, until


def test_a_server_is_warmed_in_every_slot(stand: Stand) -> None:
    stand.profile("small", "warmup: {count: 3, max_tokens: 2}\n")
    stand.run("server", "start", "small")
    done = stand.run("server", "warm")
    assert done.code == 0 and done.out.splitlines()[-1].startswith("small is warm after ")
    assert [line.split()[1] for line in done.out.splitlines()[:-1]] == ["0", "1", "0"]
    told = stand.run("server", "warm", "small", "--json").json
    assert told["name"] == "small" and {each["slot"] for each in told["completions"]} == {0, 1}
    assert all(each["took_s"] > 0 for each in told["completions"]) and told["took_s"] > 0


def test_a_keepalive_is_started_seen_and_stopped_by_hand(stand: Stand) -> None:
    stand.run("server", "start", "small")
    assert stand.run("server", "keepalive", "status").out.endswith(": off\n")
    told = stand.run("server", "keepalive", "start", "--every", "0.02", "--json").json
    assert (told[0]["name"], told[0]["every_s"], told[0]["max_tokens"]) == ("small", 0.02, 1)
    until(lambda: stand.run("server", "keepalive", "status", "small", "--json").json[0]["touches"] > 1)
    assert "keepalive  every 20ms: " in stand.run("server", "status").out
    assert stand.ps()[0]["keepalive"]["every_s"] == 0.02
    assert stand.run("server", "keepalive", "stop").out.endswith(": off\n")
    assert stand.run("server", "keepalive", "start").out.find("every 1s") > 0


def test_a_profile_and_a_variable_say_how_often(stand: Stand) -> None:
    stand.profile("often", "keepalive: {every: 3s, max_tokens: 2}\n")
    server = stand.run("server", "start", "often", "--json").json
    assert (server["keepalive"]["every_s"], server["keepalive"]["max_tokens"]) == (3.0, 2)
    stand.run("server", "keepalive", "stop")
    assert stand.run("server", "keepalive", "start", "--json").json[0]["every_s"] == 3.0
    stand.profile("based", "extends: base\n")
    stand.environ["GPT_OSS_KEEPALIVE_SECS"] = "0.5"
    assert stand.run("server", "start", "based", "--json").json["keepalive"]["every_s"] == 0.5


def test_a_restarted_server_is_another_process_and_stays_as_it_stayed(stand: Stand) -> None:
    stand.profile("small", "idle_timeout: 10m\n")
    before = stand.run("server", "start", "small", "--json").json
    stand.profile("small", "seed: 3\n")  # what the file says now is another server
    done = stand.run("server", "restart", before["id"], "--json")
    after = done.json
    assert done.code == 0 and "ready: small took" in done.err
    assert after["pid"] != before["pid"] and is_dead(before["pid"])
    assert after["idle_timeout_s"] == 600.0


def test_a_server_in_use_is_restarted_only_by_force(stand: Stand) -> None:
    before = stand.run("server", "start", "small", "--json").json
    (record,) = list_servers(Path(stand.environ["XDG_STATE_HOME"]) / "gptoss-flow")

    async def hold() -> None:
        lease = await Lease.attach(Path(record.socket), 0)
        assert lease
        done = await asyncio.to_thread(stand.run, "server", "restart")
        assert done.code == 1 and "is in use by 1 process; wait" in done.err
        forced = await asyncio.to_thread(stand.run, "server", "restart", "--force", "--json")
        assert forced.json["pid"] != before["pid"]
        assert (await lease.gone).asked
        await lease.close()

    asyncio.run(hold())


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("warm",), 3, "no server runs; start it with: gptoss-flow server start"),
        (("restart", "small"), 3, 'no server of "small" runs'),
        (("keepalive", "status"), 3, "no server runs"),
        (("keepalive", "start"), 3, "no server runs"),
        (("keepalive", "stop"), 0, "no server runs"),
        (("keepalive", "start", "--every", "0"), 2, "it must be above 0"),
        (("keepalive", "start", "--every", "often"), 2, '"often" is not a duration'),
        (("warm", "smal"), 2, 'did you mean "small"?'),
    ],
)
def test_what_cannot_be_done_is_told_with_advice(
    stand: Stand, args: tuple[str, ...], code: int, said: str
) -> None:
    done = stand.run("server", *args)
    assert done.code == code and said in done.err and not done.out


@pytest.mark.parametrize(
    ("key", "until_when"),
    [("idle_timeout: 36h\n", "36 hours from now"), ("idle_timeout: 7d\n", "7 days from now")],
)
def test_the_list_says_until_when(stand: Stand, key: str, until_when: str) -> None:
    stand.profile("small", key)
    stand.run("server", "start", "small")
    assert stand.run("server", "ps").out.splitlines()[1].endswith(until_when)
