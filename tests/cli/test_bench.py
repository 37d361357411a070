from __future__ import annotations

import json
import signal
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.stand import Stand
from tests.terminal import Terminal

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


# --- for CI -------------------------------------------------------------------------------------------------

GATED = """\
version: 1
servers: {main: small}
steps:
  fast:
    bench:
      mode: raw
      prompts: [Hello]
      requests: 12
      params: {max_tokens: 4}
      baseline: kept/fast.json
      max_regression: {latency_p50: 15%}
"""


def test_a_baseline_is_kept_and_what_is_slower_ends_with_5(stand: Stand) -> None:
    stand.write("flow.yaml", GATED)
    stand.profile("small", replies=[REPLY])
    missing = stand.run("bench", "flow.yaml", "-q")
    assert missing.code == 5
    assert "there is no baseline" in missing.err
    assert stand.run("bench", "flow.yaml", "-q", "--save-baseline").code == 0
    assert json.loads((stand.folder / "kept/fast.json").read_text())["step"] == "fast"
    stand.profile("small", replies=[{**REPLY, "ttft_s": 0.1, "token_delay_s": 0.02}])
    slower = stand.run("bench", "flow.yaml", "-q")
    assert slower.code == 5, slower.err
    assert "flow.yaml:10:17" in slower.err or "latency_p50" in slower.err
    assert "worse" in slower.out


def test_save_baseline_wants_a_file_to_write(stand: Stand) -> None:
    flow(stand, "{}")
    done = stand.run("bench", "flow.yaml", "--save-baseline")
    assert (done.code, done.out) == (2, "")
    assert "no bench step names a baseline" in done.err


def test_github_gets_a_summary_and_annotations(stand: Stand) -> None:
    flow(stand, "{ttft_p50: 1ms}")
    stand.environ |= {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(stand.folder / "summary.md")}
    done = stand.run("bench", "flow.yaml", "-q", "-f", "junit", "-o", "junit.xml")
    assert (done.code, done.out) == (5, "")
    annotation = next(line for line in done.err.splitlines() if line.startswith("::error "))
    assert annotation.startswith(
        "::error file=flow.yaml,line=13,col=23,title=bench fast::concurrency 1: ttft_p50 is "
    )
    assert "| concurrency 1 | 6 | 0 |" in (stand.folder / "summary.md").read_text()
    assert 'failures="2"' in (stand.folder / "junit.xml").read_text()


def test_a_bench_that_never_ran_is_no_empty_result(stand: Stand) -> None:
    stand.profile("small", replies=[REPLY])
    stand.environ |= {"GITHUB_ACTIONS": "true"}
    more = "  other:\n    bench: {prompts: [x]}\n  first: {check: [1 > 2]}\n  late:\n    needs: [first]\n"
    stand.write("flow.yaml", FLOW.replace("{SLO}", "{}") + more + "    bench: {prompts: [x]}\n")
    done = stand.run("bench", "flow.yaml", "-q", "-f", "junit", "--step", "late")
    assert done.code == 5, done.err
    [suite] = ElementTree.fromstring(done.out)
    assert (suite.get("name"), suite.get("tests"), suite.get("skipped")) == ("late", "1", "1")
    assert "::error title=bench::step first: check is false: 1 > 2" in done.err


def test_the_best_profile_of_a_matrix_is_written_ready_to_share(stand: Stand) -> None:
    stand.profile("small", replies=[REPLY])
    stand.write(
        "flow.yaml",
        "version: 1\nname: sweep\nservers: {main: small}\nsteps:\n  s:\n    bench:\n      mode: raw\n"
        "      prompts: {input_tokens: 20, output_tokens: 4}\n      requests: 2\n      matrix: {batch: [64]}\n",
    )
    done = stand.run("bench", "flow.yaml", "-q", "--save-profile", "profiles/best.yaml")
    assert done.code == 0, done.err
    assert "extends: small\nbatch: 64\nubatch: 64\n" in (stand.folder / "profiles/best.yaml").read_text()
    assert "extends: small" in done.out
    shown = stand.run("profile", "show", "best")
    assert shown.code == 0, shown.err
    assert "batch: 64" in shown.out


# --- runs that end early, and runs that are repeated --------------------------------------------------------


def sweep(stand: Stand, requests: int = 2) -> None:
    stand.profile("small", replies=[{**REPLY, "token_delay_s": 0.05}])
    stand.write(
        "flow.yaml",
        "version: 1\nservers: {main: small}\nsteps:\n  s:\n    bench:\n      mode: raw\n      prompts: [Hello]\n"
        f"      requests: {requests}\n      params: {{max_tokens: 4}}\n      order: file\n"
        "      matrix: {batch: [64, 128, 256, 512]}\n",
    )


def test_a_sweep_that_is_interrupted_leaves_its_trials_and_goes_on_after_them(stand: Stand) -> None:
    sweep(stand)
    with Terminal(stand, "bench", "flow.yaml", term="dumb") as terminal:
        terminal.until(b"trial batch 128")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
    ended = [event["number"] for event in stand.events() if event["type"] == "trial_finished"]
    assert ended == [0, 1]
    for form in ("text", "md"):
        report = stand.run("report", "-f", form)
        assert report.code == 0, report.err
        assert "batch 128" in report.out
    assert stand.run("report").code == 0
    assert "batch 128" in (stand.runs[-1] / "report.html").read_text()
    assert stand.ps() == []
    resumed = stand.run("resume")
    assert resumed.code == 0, resumed.err
    events = stand.events()
    after = events[next(n for n, event in enumerate(events) if event["type"] == "run_resumed") :]
    assert [e["number"] for e in after if e["type"] == "trial_finished"] == [0, 1, 2, 3]
    assert sum(e["type"] == "server_changed" and e["state"] == "ready" for e in after) == 2
    replayed = stand.run("replay")
    assert replayed.code == 0, replayed.err


def test_a_replay_of_a_changed_bench_is_a_mismatch(stand: Stand) -> None:
    flow(stand, "{error_rate: 0}")
    assert stand.run("bench", "flow.yaml", "-q").code == 0
    assert stand.run("replay").code == 0
    flow(stand, "{ttft_p50: 1ms}")
    done = stand.run("replay")
    assert done.code == 6, done.err
    stand.write("flow.yaml", FLOW.replace("{SLO}", "{}").replace("requests: 6", "requests: 7"))
    done = stand.run("replay")
    assert done.code == 6
    assert "flow.yaml:" in done.err
    assert "step fast: concurrency 1: its requests, duration, warm-up" in done.err


def test_prompts_are_taken_from_a_run_on_record(stand: Stand) -> None:
    stand.profile("small", replies=[REPLY])
    stand.write(
        "ask.yaml",
        "version: 1\nservers: {main: small}\nsteps:\n  each:\n    foreach: [one, two, three]\n"
        "    prompt: {mode: raw, text: 'Say ${{ item }}', params: {max_tokens: 3}}\n",
    )
    assert stand.run("run", "ask.yaml", "-q").code == 0
    stand.write(
        "flow.yaml",
        "version: 1\nservers: {main: small}\nsteps:\n  again: {bench: {prompts_from: latest, warmup: 0}}\n",
    )
    done = stand.run("bench", "flow.yaml", "-f", "json", "-q")
    assert done.code == 0, done.err
    [trial] = done.json[0]["trials"]
    assert trial["n"] == 3
    [event] = [event for event in stand.events() if event["type"] == "trial_finished"]
    columns = event["trial"]["samples"]["columns"]
    rows = [dict(zip(columns, row, strict=True)) for row in event["trial"]["samples"]["rows"]]
    assert sorted(row["prompt_tokens"] for row in rows) == [len("Say one"), len("Say two"), len("Say three")]
    assert {row["tokens"] for row in rows} == {3}
    stand.write(
        "flow.yaml",
        "version: 1\nservers: {main: small}\nsteps:\n  again: {bench: {prompts_from: {run: latest, step: no}}}\n",
    )
    missing = stand.run("bench", "flow.yaml", "-q")
    assert missing.code == 1
    assert "run latest has no prompt of step no" in missing.err


def test_a_cell_that_cannot_start_is_a_result_and_the_others_go_on(stand: Stand) -> None:
    stand.profile("small", replies=[REPLY])
    stand.write(
        "flow.yaml",
        "version: 1\nservers: {main: small}\nsteps:\n  s:\n    bench:\n      mode: raw\n      prompts: [Hello]\n"
        "      requests: 2\n      params: {max_tokens: 4}\n"
        "      matrix: {model: [{path: /nowhere.gguf}, {path: SMALL}]}\n".replace(
            "SMALL", str(stand.folder / "small.gguf")
        ),
    )
    done = stand.run("bench", "flow.yaml", "-q", "-f", "json")
    assert done.code == 0, done.err
    lost, found = done.json[0]["trials"]
    assert (lost["n"], found["n"]) == (0, 2)
    assert "nowhere.gguf" in lost["error"]


def test_a_server_that_dies_under_the_load_fails_the_bench(stand: Stand) -> None:
    stand.profile("small", replies=[{**REPLY, "token_delay_s": 0.05}], die_after=6)
    stand.write("flow.yaml", FLOW.replace("{SLO}", "{}").replace("requests: 6", "requests: 20"))
    done = stand.run("bench", "flow.yaml")
    assert done.code == 1, done.err
    assert "step fast: failed" in done.err
    assert "concurrency 1: the server died of signal 9 (SIGKILL)" in done.err
    assert "bench fast: failed" in done.out  # with what was measured before


# --- the quick sample ---------------------------------------------------------------------------------------


def test_a_sample_asks_so_often_and_tells_its_percentiles(stand: Stand) -> None:
    stand.profile("small", replies=[{"text": "abcdefghijkl", "ttft_s": 0.02, "token_delay_s": 0.005}])
    done = stand.run("bench", "5", "--profile", "small", "--pause", "0", "-f", "json")
    assert done.code == 0, done.err
    told = done.json
    assert (told["runs"], told["failed"], told["server"]) == (5, 0, "small")
    latency = told["latency"]
    assert 0.05 < latency["min"] <= latency["p50"] <= latency["p95"] <= latency["max"]
    assert told["decode_tps"] == pytest.approx(100)
    lines = stand.run("bench", "2", "--profile", "small", "--pause", "0").out.splitlines()
    assert lines[0] == "runs     2 of 2"
    assert lines[-1] == "decode   100.0 tokens/s, by the server's own clock"


def test_a_sample_with_a_failure_ends_with_1(stand: Stand) -> None:
    good, bad = {"text": "abcd"}, {"status": 400, "body": '{"error": {"message": "no luck"}}'}
    stand.profile("small", replies=[good, bad, good])
    done = stand.run("bench", "3", "--profile", "small", "--pause", "0")
    assert done.code == 1, done.err
    assert "runs     2 of 3, 1 failed" in done.out
    assert "no luck" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["0"], "at least one request"),
        (["3", "--profile", "a", "--url", "http://b"], "not both"),
        (["3", "-f", "csv"], "a sample has no format csv"),
        (["flow.yaml", "--pause", "1"], "--pause is for a sample"),
        (["3", "-o", "out.txt"], "-o is for a flow"),
        (["3", "--save-baseline"], "--save-baseline is for a flow"),
        (["3", "--server", "main=demo"], "--server is for a flow"),
        (["nowhere.yaml"], "nowhere.yaml"),
        (["flow.yaml", "--step", "fats"], 'did you mean "fast"?'),
        (["flow.yaml", "-o", "no/where.csv"], "there is no folder no"),
        (["flow.yaml", "-o", "~nobody-here/x.csv"], "there is no folder ~nobody-here"),
        (["flow.yaml", "-o", "."], ". is a folder; name a file in it"),
    ],
)
def test_what_cannot_be_is_refused(stand: Stand, arguments: list[str], said: str) -> None:
    flow(stand, "{}")
    done = stand.run("bench", *arguments)
    assert (done.code, done.out) == (2, ""), done.err
    assert said in done.err
