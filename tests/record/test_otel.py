"""Spans at a real receiver, and runs whose collector is slow, gone or speaks something else."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from gptoss_flow.errors import Invalid
from gptoss_flow.events import Stamped, StepStarted
from gptoss_flow.record.otel import MOST_S, Otel
from tests.record.collector import Collector, collector
from tests.record.test_spans import BEGIN, EVERYTHING, SECRET, START, answered, asked, finished


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("SERVICE_NAME", "RESOURCE_ATTRIBUTES", "EXPORTER_OTLP_PROTOCOL", "EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collector() as got:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.url)
        yield got


def run(*events: object, **options: bool) -> list[str]:
    """The warnings of a sink that saw these events."""
    warnings: list[str] = []
    sink = Otel(warnings.append, **options)
    for number, event in enumerate(events):
        sink.take(Stamped(number + 1, START + number, event))  # type: ignore[arg-type]
    sink.close()
    return warnings


def test_all_spans_of_a_run_are_at_the_collector_when_it_ends(there: Collector) -> None:
    assert run(*EVERYTHING) == []
    assert set(there.paths) == {"/v1/traces"}
    assert there.resource["service.name"] == "gptoss-flow"
    assert set(there.spans) == {"invoke_workflow sea", "step a", "chat warm", "execute_tool t"}
    assert there.above("chat warm") == there.above("execute_tool t") == "step a"
    assert there.spans["chat warm"].proto.start_time_unix_nano == (START + 2) * 1e9
    assert there.spans["chat warm"].said["gen_ai.usage.input_tokens"] == 9
    assert SECRET not in there.text


def test_content_goes_along_where_the_option_or_the_variable_says_so(
    there: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*EVERYTHING, content=True)
    assert SECRET in there.spans["chat warm"].said["gen_ai.input.messages"]
    there.spans.clear()
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    run(*EVERYTHING)
    assert SECRET in there.spans["chat warm"].said["gen_ai.output.messages"]


def test_the_name_of_the_service_is_the_variables(there: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly")
    run(BEGIN, finished())
    assert there.resource["service.name"] == "nightly"


def test_a_large_run_loses_no_span(there: Collector) -> None:
    many = [each for n in range(3000) for each in (asked(f"s{n}"), answered(f"s{n}"))]
    steps = [StepStarted(step=f"s{n}", kind="prompt") for n in range(3000)]
    assert run(BEGIN, *steps, *many, finished()) == []
    assert len(there.spans) == 3002  # all requests have one name


def test_text_that_no_encoding_can_hold_costs_no_batch(there: Collector) -> None:
    assert run(BEGIN, StepStarted(step="\ud800", kind="x"), finished()) == []
    assert "step ?" in there.spans


def test_a_collector_that_is_not_there_costs_a_moment_and_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://me:pass@127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    began = time.monotonic()
    (warning,) = run(*EVERYTHING)
    assert time.monotonic() - began < MOST_S - 1  # the library's own patience
    assert warning == f"--otel: the collector at {url.replace('me:pass@', '')} did not take all spans of this run"


def test_a_collector_that_never_answers_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert len(run(*EVERYTHING)) == 1
        assert time.monotonic() - began < MOST_S - 1  # the library's own patience


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-5"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1"),
    ],
)
def test_a_variable_that_cannot_be_followed_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Invalid, match="OTEL"):
        run(BEGIN)
