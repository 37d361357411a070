from __future__ import annotations

from pathlib import Path

from tests.cli.stand import Stand

FLOW = """\
version: 1
servers: {main: small}
steps:
  before: {set: {text: Hello}}
  unrelated: {check: [false]}
  fast:
    bench:
      mode: raw
      prompts: ["${{ steps.before.output.text }}"]
      requests: 6
      concurrency: [1, 2]
      params: {max_tokens: 4}
      slo: {SLO}
"""
REPLY = {"text": "abcdefgh", "ttft_s": 0.02, "token_delay_s": 0.005}


def flow(stand: Stand, slo: str, **script: object) -> None:
    stand.profile("small", **(script or {"replies": [REPLY]}))
    stand.write("flow.yaml", FLOW.replace("{SLO}", slo))


def test_a_flows_bench_runs_with_what_it_needs_and_nothing_else(stand: Stand) -> None:
    flow(stand, '{ttft_p95: 2s, decode_tps_p50: "> 1", error_rate: 0}')
    done = stand.run("bench", "flow.yaml", "--format", "json")
    assert done.code == 0, done.err
    [bench] = done.json
    assert [trial["concurrency"] for trial in bench["trials"]] == [1, 2]
    assert [trial["n"] for trial in bench["trials"]] == [6, 6]
    assert all(trial["metrics"]["ttft"]["p50"] >= 0.02 for trial in bench["trials"])
    ends = {e["step"]: e["outcome"] for e in stand.events() if e["type"] == "step_finished"}
    assert ends == {"before": "succeeded", "unrelated": "skipped", "fast": "succeeded"}
    numbers = [event["number"] for event in stand.events() if event["type"] == "trial_finished"]
    assert sorted(numbers) == [0, 1]


def test_a_service_level_that_is_missed_ends_with_5_at_its_place(stand: Stand) -> None:
    flow(stand, "{latency_p50: 1s, ttft_p50: 10ms}")
    done = stand.run("bench", "flow.yaml")
    assert done.code == 5, done.err
    assert "concurrency 1: ttft_p50 is " in done.out
    assert "flow.yaml:13:40" in done.err
    assert "2 of 4 gates held" in done.out


def test_a_bench_without_a_success_fails_with_1_and_says_why(stand: Stand) -> None:
    flow(stand, "{}", replies=[{"status": 500, "body": '{"error": {"message": "out of order"}}'}])
    done = stand.run("bench", "flow.yaml")
    assert done.code == 1, done.err
    assert "no request succeeded: HTTP 500: out of order" in done.err


def test_errors_alone_fail_only_what_says_so(stand: Stand) -> None:
    good, bad = {"text": "abcd"}, {"status": 500, "body": "no"}
    flow(stand, "{}", replies=[good, good, bad, good])
    assert stand.run("bench", "flow.yaml").code == 0
    flow(stand, "{error_rate: 0}", replies=[good, good, bad, good])
    done = stand.run("bench", "flow.yaml")
    assert done.code == 5
    assert "error_rate is 16.67%, not <= 0.00%" in done.out


def test_a_flow_without_a_bench_is_refused(stand: Stand) -> None:
    stand.write("flow.yaml", "version: 1\nsteps: {a: {set: {x: 1}}}\n")
    done = stand.run("bench", "flow.yaml")
    assert (done.code, done.out) == (2, "")
    assert "flow.yaml has no bench step" in done.err


def test_a_scripted_model_has_no_server_to_measure(stand: Stand) -> None:
    flow(stand, "{}")
    stand.write("replies.yaml", "default: fine\n")
    done = stand.run("run", "flow.yaml", "--only", "fast", "--model", "scripted:replies.yaml")
    assert done.code == 1
    assert "a bench measures a server" in done.err


def test_each_cell_of_a_matrix_has_a_server_of_its_own(stand: Stand, tmp_path: Path) -> None:
    stand.profile("small", replies=[REPLY], load_s=0.2)
    stand.write(
        "flow.yaml",
        "version: 1\nservers: {main: small}\nsteps:\n  sweep:\n    bench:\n      mode: raw\n"
        "      prompts: [Hello]\n      requests: 3\n      params: {max_tokens: 4}\n"
        "      matrix: {kv_cache.k: [f16, q8_0], parallel: [1, 2]}\n",
    )
    done = stand.run("bench", "flow.yaml", "--format", "json")
    assert done.code == 0, done.err
    [bench] = done.json
    assert [trial["profile"] for trial in bench["trials"]] == [
        {"kv_cache.k": k, "parallel": n} for k in ("f16", "q8_0") for n in (1, 2)
    ]
    assert [trial["server"]["slots"] for trial in bench["trials"]] == [1, 2, 1, 2]
    assert all(trial["metrics"]["ready_s"] >= 0.2 for trial in bench["trials"])
    assert all(trial["metrics"].get("load_s", 0) < trial["metrics"]["ready_s"] for trial in bench["trials"])
    changes = [event for event in stand.events() if event["type"] == "server_changed"]
    assert len({event["facts"]["pid"] for event in changes if event["state"] == "ready"}) == 4
    assert stand.ps() == []
