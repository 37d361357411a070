"""`gptoss-flow bench`: a flow's bench steps and what they need, or a quick sample of a server."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gptoss_flow.app.check import check_flow
from gptoss_flow.cli import complete
from gptoss_flow.cli.asked import DEFAULT_PROFILE
from gptoss_flow.cli.given import read_given
from gptoss_flow.cli.options import KEPT_LOGS, input_options, locked_option, server_option
from gptoss_flow.cli.out import check_out, write_out
from gptoss_flow.errors import Invalid, Problem, RecordError
from gptoss_flow.escape import for_terminal
from gptoss_flow.plan.plan import Node, Plan
from gptoss_flow.plan.selection import only
from gptoss_flow.words import suggest

KIND = "bench"
FORMATS = ("table", "json", "csv", "md", "junit")
SAMPLE_ONLY = ("profile", "url", "prompt", "max_tokens", "temperature", "pause")
FLOW_ONLY = {
    "given": "-i", "inputs_file": "--inputs", "servers": "--server", "steps": "--step", "changes": "--set",
    "out": "-o", "save_baseline": "--save-baseline", "save_profile": "--save-profile", "record": "--record",
    "record_dir": "--record-dir", "locked": "--locked",
}  # fmt: skip


@click.command("bench")
@click.argument("what", metavar="FLOW|N", type=click.Path(path_type=str))
@input_options
@server_option
@click.option(
    "--step", "steps", metavar="STEP", multiple=True, shell_complete=complete.steps, help="Only this bench step."
)
@click.option(
    "--set", "changes", metavar="PATH=VALUE", multiple=True, help="Change the flow before it is checked."
)
@click.option(
    "-f", "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True,
    help="md is for comments; $GITHUB_STEP_SUMMARY gets it in any case.",
)  # fmt: skip
@click.option("-o", "--out", metavar="FILE", help="Write the results there.")
@click.option(
    "--save-baseline", is_flag=True, help="Write each bench's baseline file, and hold nothing against it."
)
@click.option(
    "--save-profile", metavar="FILE", help="Write the best profile of a matrix there; - is standard output."
)
@click.option("--record", is_flag=True, help="Keep a readable log of the run beside its record, by date.")
@click.option("--record-dir", metavar="DIR", help=f"The folder for that log. [default: {KEPT_LOGS}]")
@locked_option
@click.option("--offline", is_flag=True, help="Download nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.option(
    "--profile", metavar="NAME", shell_complete=complete.profiles,
    help=f"N: whose server to ask. [default: {DEFAULT_PROFILE}]",
)  # fmt: skip
@click.option("--url", metavar="URL", help="N: ask the server at this address. [env var: GPT_OSS_URL]")
@click.option("--prompt", envvar="GPT_OSS_PROMPT", default="1+1=", show_default=True, help="N: what is asked.")
@click.option(
    "-n", "--max-tokens", type=click.IntRange(min=1), default=8, envvar="GPT_OSS_MAX_TOKENS", show_default=True,
    help="N: tokens of each answer.",
)  # fmt: skip
@click.option(
    "--temperature", type=click.FloatRange(0, 5), default=0.0, envvar="GPT_OSS_TEMPERATURE", show_default=True,
    help="N: 0 always takes the likeliest token.",
)  # fmt: skip
@click.option(
    "--pause", type=click.FloatRange(0, 3600), default=0.2, envvar="GPT_OSS_SLEEP_SECS", show_default=True,
    help="N: seconds between two requests.",
)  # fmt: skip
@click.pass_context
def command(
    context: click.Context,
    what: str,
    given: tuple[str, ...],
    inputs_file: str | None,
    servers: tuple[str, ...],
    steps: tuple[str, ...],
    changes: tuple[str, ...],
    form: str,
    out: str | None,
    save_baseline: bool,
    save_profile: str | None,
    record: bool,
    record_dir: str | None,
    locked: bool,
    offline: bool,
    quiet: bool,
    profile: str | None,
    url: str | None,
    prompt: str,
    max_tokens: int,
    temperature: float,
    pause: float,
) -> int:
    """Run the bench steps of a FLOW and what they need, and print what was measured; or ask N times, as a sample.

    Exit code 5 when a service level or a baseline is missed: in GitHub Actions an annotation says which. N asks a
    server, started if need be, for so many raw completions of a few tokens, each of which computes its whole
    prompt, and prints their latency; any that fails makes it exit with 1.

    \b
    Examples:
      gptoss-flow bench 10 --profile demo
      gptoss-flow bench flows/smoke-bench.yaml
      gptoss-flow bench flows/smoke-bench.yaml --save-baseline
      gptoss-flow bench flows/sweep-kv.yaml --save-profile profiles/fast.yaml -f csv -o sweep.csv
    """
    if what.isascii() and what.isdigit():
        from gptoss_flow.cli.bench_sample import take_sample

        for name, option in FLOW_ONLY.items():
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{option} is for a flow, not for a sample (bench N)")
        if profile is not None and url is not None:
            raise click.UsageError("say --profile or --url, not both")
        if form not in ("table", "json"):
            raise click.UsageError(f"a sample has no format {form}: table or json")
        params = {"max_tokens": max_tokens, "temperature": temperature}
        is_json = form == "json"
        return take_sample(
            int(what), profile, url, prompt, params, pause, as_json=is_json, offline=offline, quiet=quiet
        )
    for name in SAMPLE_ONLY:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} is for a sample (bench N), not for a flow")
    check_out(out, save_profile)
    plan = check_flow(what, offline=offline, locked=locked, changes=changes)
    wanted = _benches(plan, what, steps)
    if save_baseline:
        _require_baselines(plan, wanted)
    from gptoss_flow.app.run import run_flow_sync
    from gptoss_flow.cli.run_checked import progress_of
    from gptoss_flow.ui.bench import benches_of
    from gptoss_flow.ui.bench_forms import FORMS, draw_markdown, github_annotations

    keep_in = record_dir or (KEPT_LOGS if record else None)
    asked = read_given(plan, given, inputs_file, servers, None)
    finished = run_flow_sync(
        plan,
        asked,
        views=[] if quiet else [progress_of(plan)],
        offline=offline,
        select=only(plan, wanted),
        said={"set": list(changes), "only": wanted, "save_baseline": save_baseline},
        keep_in=None if keep_in is None else asked.cwd / keep_in,
        keep_baselines=save_baseline,
    )
    result = finished.result
    benches = [bench for bench in benches_of(finished.state, all_of_them=True) if _is_of(bench.step, wanted)]
    _write(FORMS[form](benches), out)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        _append(summary, draw_markdown(benches))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in github_annotations(benches, result.error):
            click.echo(line, err=True)
    if save_profile is not None and (best := [bench.best for bench in benches if bench.best]):
        _write(str(best[0].get("yaml", "")), None if save_profile == "-" else save_profile)
    if quiet and result.error and result.bug is None:
        click.echo(for_terminal(result.error), err=True)
    if result.bug is not None:
        click.echo(f"the record of the run is {finished.folder}", err=True)
        raise result.bug
    return int(result.exit_code)


def _benches(plan: Plan, flow: str, steps: tuple[str, ...]) -> list[str]:
    """The steps that measure, or run a flow that does. Raises `Invalid`."""
    found = [node.id for node in plan.nodes.values() if _measures(node)]
    if not found:
        raise Invalid(Problem(None, f"{flow} has no bench step", "add one, or say how many requests: bench 10"))
    if unknown := [step for step in steps if step not in found]:
        raise Invalid(
            *(Problem(None, f"--step {each}: no such bench step", suggest(each, found)) for each in unknown)
        )
    return list(steps) or found


def _is_of(unit: str, steps: list[str]) -> bool:
    """Whether it is one of these steps, an item of it, or a step within."""
    return unit.partition(".")[0].partition("[")[0] in steps


def _measures(node: Node) -> bool:
    kinds = [node.step.kind, *([node.fallback.step.kind] if node.fallback else [])]
    return KIND in kinds or (node.inner is not None and any(map(_measures, node.inner.nodes.values())))


def _require_baselines(plan: Plan, steps: list[str]) -> None:
    """That there is a file to write. Raises `Invalid`."""
    bodies = [node.body.compiled.data.get(KIND) for node in plan.nodes.values() if node.id in steps]
    if not any(isinstance(body, dict) and body.get("baseline") for body in bodies):
        raise Invalid(
            Problem(None, "--save-baseline: no bench step names a baseline", "write baseline: FILE in one")
        )


def _write(text: str, path: str | None) -> None:
    if path is None or path == "-":
        click.echo(for_terminal(text), nl=False)
        return
    write_out(text, path)


def _append(path: str, text: str) -> None:
    try:
        with Path(path).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise RecordError(f"cannot write $GITHUB_STEP_SUMMARY, {path}: {error.strerror}") from None
