"""Flow files: bombs, graphs without end, ways out of the language, texts at random, each told with its figure."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from gptoss_flow.app.check import check_flow
from gptoss_flow.errors import Invalid
from gptoss_flow.lang.document import parse_document
from gptoss_flow.refs import EvaluationError, TemplateError, parse, parse_expression
from tests.faults.stage import Figure, Scene, Stage
from tests.lang.test_document import BOMBS as ALIASES
from tests.lang.test_document import HOSTILE
from tests.lang.test_fuzz import edited
from tests.peak import peak_mb
from tests.refs.bombs import BOMBS
from tests.refs.test_escapes import ESCAPES, SCOPE

ROOT = Path(__file__).parents[2]
SUITE = "YAML_TEST_SUITE"
"""The environment variable with a folder of the yaml-test-suite's data."""

SIGNS = [
    *"abc:-?[]{},#&*!|>'\"%@`\n\t ~1",
    ": ",
    "- ",
    "\n  ",
    "<<: ",
    "*a",
    "&a ",
    "---\n",
    "...\n",
    "!!str ",
    "\ufeff",
]
PATTERNS = ["(a+)+$", "(a|aa)+$", "(.*a){12}b", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$"]


def in_child(module: str, *args: str, seconds: int = 600) -> tuple[str, list[dict[str, object]]]:
    """What a module's lines say (JSON objects), run with a gigabyte of memory; what ended it, if not itself."""

    def bounds() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))

    command = [sys.executable, "-m", module, *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=bounds, check=False)
    fault = f"exit {done.returncode}: {done.stderr[-200:]!r}" if done.returncode else ""
    return fault, [json.loads(line) for line in done.stdout.splitlines()]


def worst(results: list[dict[str, object]], key: str) -> float:
    return max((float(str(result[key])) for result in results), default=0.0)


def aliases(stage: Stage) -> Figure:
    """Aliases that stand for more and more: refused within 50 ms of the processor, and in hardly any memory."""
    took = dict[str, float]()
    before = peak_mb()
    for name, text in ALIASES.items():
        for _ in stage.times(3):
            began = time.process_time()
            with suppress(Invalid):
                parse_document(text, "f.yaml")
                return Figure(f"{name} was read", False)
            took[name] = min(took.get(name, 9.0), time.process_time() - began)
    grown = peak_mb() - before
    slowest = max(took, key=took.__getitem__)
    said = f"{len(took)} refused, slowest {took[slowest] * 1000:.0f} ms ({slowest}), {grown:.0f} MB more"
    return Figure(said, took[slowest] <= 0.05 and grown <= 32)


def depth(stage: Stage) -> Figure:
    """A hundred thousand openings of any kind end no process by a signal."""
    code = (
        "import sys\nfrom gptoss_flow.errors import Invalid\n"
        "from gptoss_flow.lang.document import parse_document\n"
        "for tail in ('', 'x', ']' * 100_000):\n"
        "    try:\n        parse_document(sys.argv[1] * 100_000 + tail, 'f.yaml')\n"
        "    except Invalid:\n        pass\n"
    )
    codes = [subprocess.run([sys.executable, "-c", code, unit], cwd=ROOT).returncode for unit in HOSTILE]
    signals = sum(code < 0 for code in codes)
    return Figure(
        f"{len(codes)} openings, {signals} signals, {sum(map(bool, codes))} other errors", not any(codes)
    )


def yaml_texts(stage: Stage) -> Figure:
    """The yaml-test-suite, where $YAML_TEST_SUITE says where it is, and texts of YAML's own signs."""
    suite = sorted(Path(os.environ[SUITE]).rglob("in.yaml")) if SUITE in os.environ else []
    texts: list[str | bytes] = [path.read_bytes() for path in suite]
    chance = random.Random(9)
    texts += ["".join(chance.choices(SIGNS, k=chance.randint(1, 40))) for _ in stage.times(20_000)]
    read, foreign = 0, list[str]()
    for text in texts:
        try:
            parse_document(text, "f.yaml")
            read += 1
        except Invalid:
            pass
        except Exception as error:
            foreign.append(f"{error!r} by {text!r}")
    said = f"{len(suite)} cases, {len(texts) - len(suite)} texts: {read} read, {len(foreign)} foreign exceptions"
    return Figure(said + "".join(f"; {each[:200]}" for each in foreign[:3]), not foreign)


def attacks(stage: Stage) -> Figure:
    """Files that would hang or fill the memory of whoever reads them, in a child with bounds."""
    fault, results = in_child("tests.lang.attacks")
    plans = [str(result["attack"]) for result in results if result["ended"] != "Invalid"]
    seconds, megabytes = worst(results, "s"), worst(results, "mb")
    said = f"{len(results)} files, {len(plans)} are plans, slowest {seconds:.1f} s, at most {megabytes:.0f} MB"
    met = not fault and bool(results) and seconds <= 8 and megabytes <= 512
    return Figure(f"{said}; {fault}" if fault else said, met)


def graphs(stage: Stage) -> Figure:
    """A step of a flow of 100,000 costs what one of 25,000 does, in time and in memory."""
    seen = dict[int, tuple[float, float]]()
    for steps in (25_000, 50_000, 100_000):
        fault, results = in_child("tests.lang.long_flows", str(steps))
        if fault:
            return Figure(f"{steps} steps: {fault}", False)
        seen[steps] = (float(str(results[0]["s"])), float(str(results[0]["mb"])))
    said = ", ".join(f"{steps}: {s:.1f} s {mb:.0f} MB" for steps, (s, mb) in seen.items())
    # The first 25,000 find room that loading the program left free: what counts is what more of them take.
    (quarter_s, quarter_mb), (half_s, half_mb), (whole_s, whole_mb) = seen.values()
    linear_s = (whole_s - half_s) <= 2 * 1.5 * (half_s - quarter_s)
    return Figure(said, linear_s and (whole_mb - half_mb) <= 2 * 1.3 * (half_mb - quarter_mb))


def escapes(stage: Stage) -> Figure:
    """Every known way out of a template is refused."""
    passed = list[str]()
    for text in ESCAPES:
        with suppress(TemplateError, EvaluationError):
            parse(text).render(SCOPE)
            passed.append(text)
    return Figure(f"{len(passed)} escapes of {len(ESCAPES)}" + "".join(f"; {t}" for t in passed), not passed)


def templates(stage: Stage) -> Figure:
    """Templates that would burn time or memory, in a child with bounds: at most 2 s and 512 MB."""
    fault, results = in_child("tests.refs.bombs", *map(str, range(len(BOMBS))))
    seconds, megabytes = worst(results, "s"), worst(results, "mb")
    said = f"{len(results)}/{len(BOMBS)} ended, slowest {seconds:.2f} s, at most {megabytes:.0f} MB"
    met = not fault and len(results) == len(BOMBS) and seconds <= 2 and megabytes <= 512
    return Figure(f"{said}; {fault}" if fault else said, met)


def patterns(stage: Stage) -> Figure:
    """Patterns that other engines never end on, on 100,000 characters."""
    took = list[float]()
    for pattern in PATTERNS:
        template = parse_expression(f"text | regex_search({pattern!r})")
        began = time.process_time()
        template.render({"text": "a" * 100_000 + "!"})
        took.append(time.process_time() - began)
    return Figure(f"{len(took)} patterns, slowest {max(took) * 1000:.0f} ms", max(took) <= 0.5)


def loader(stage: Stage) -> Figure:
    """Real flows with random edits, for a minute (or --rounds of them): a plan or `Invalid`, nothing else."""
    chance, count, plans, foreign = random.Random(), 0, 0, list[str]()
    until = time.monotonic() + 60
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "flow.yaml")
        while count < stage.rounds if stage.rounds else time.monotonic() < until:
            count += 1
            text = edited(chance)
            file.write_text(text, encoding="utf-8")
            try:
                check_flow(file, Path(folder), offline=True, untrusted=count % 2 == 0)
                plans += 1
            except Invalid as error:
                if not error.problems:
                    foreign.append(f"a refusal without a problem by {text!r}")
            except Exception as error:
                foreign.append(f"{error!r} by {text!r}")
    said = f"{count} executions, {plans} plans, {len(foreign)} crashes"
    return Figure(said + "".join(f"; {each[:2000]}" for each in foreign[:3]), not foreign)


SCENES: dict[str, Scene] = {
    "flow-aliases": aliases,
    "flow-depth": depth,
    "flow-yaml": yaml_texts,
    "flow-attacks": attacks,
    "flow-graphs": graphs,
    "flow-escapes": escapes,
    "flow-templates": templates,
    "flow-patterns": patterns,
    "flow-fuzz": loader,
}
