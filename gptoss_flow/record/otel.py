"""Sends a run's spans to an OpenTelemetry collector: OTLP over HTTP, told where to by the standard variables.

In batches, by a thread: a collector that is slow or gone costs a run nothing but a moment at its end.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from gptoss_flow import __version__
from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.events import RunStarted, Stamped
from gptoss_flow.record.spans import RunSpans

END_S, MOST_S = 2.0, 10.0
"""How long the end of a run waits for its last spans to be sent: while nothing moves, and at all."""
QUEUE_SPANS = 65_536
"""How many may wait to be sent, where $OTEL_BSP_MAX_QUEUE_SIZE does not say; more are dropped."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class Otel:
    """A sink. `warn` is told at the end, in one sentence, if not all spans arrived.

    `content`, `earlier`: see `RunSpans`. Raises `Invalid` for a variable that cannot be followed.
    """

    def __init__(
        self,
        warn: Callable[[str], object],
        *,
        content: bool = False,
        earlier: RunStarted | None = None,
    ) -> None:
        for name in _PROTOCOLS:
            if os.environ.get(name, "http/protobuf") != "http/protobuf":
                said = f"${name} is {os.environ[name]}, and --otel speaks http/protobuf"
                raise Invalid(Problem(None, said, "set it to http/protobuf, and the endpoint to that port (4318)"))
        # What the library has to say of a collector that is gone, it would say again and again.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        self._warn = warn
        try:
            self._where = _shown(next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), ""))
            self._exporter = _Counting()
            queue = None if os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else QUEUE_SPANS
            self._batches = BatchSpanProcessor(self._exporter, max_queue_size=queue)
        except ValueError as error:
            raise Invalid(Problem(None, f"--otel: {error}", "look at the variables OTEL_*")) from None
        ours = Resource.create({"service.name": "gptoss-flow", "service.version": __version__})
        self._provider = TracerProvider(
            resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._provider.add_span_processor(self._batches)
        self._spans = RunSpans(
            self._provider.get_tracer("gptoss_flow", __version__),
            content=content or os.environ.get(_CONTENT, "").lower() in ("true", "span_only", "span_and_event"),
            earlier=earlier,
        )

    def take(self, stamped: Stamped) -> None:
        self._spans.take(stamped)

    def close(self) -> None:
        self._spans.close()
        # It would wait half a minute for a collector that does not answer.
        ending = threading.Thread(target=self._provider.shutdown, name="otel-end", daemon=True)
        ending.start()
        before, deadline = -1, time.monotonic() + MOST_S
        while ending.is_alive() and self._exporter.sent > before and time.monotonic() < deadline:
            before = self._exporter.sent
            ending.join(END_S)
        if ending.is_alive() or self._exporter.lost:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]
            self._warn(f"--otel: the collector at {self._where} did not take all spans of this run")


class _Counting(OTLPSpanExporter):
    """Knows how many spans arrived, and how many did not."""

    sent = lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.lost += len(spans)  # until the contrary is known: it may also raise
        result = super().export(spans)
        if result is SpanExportResult.SUCCESS:
            self.lost -= len(spans)
            self.sent += len(spans)
        return result


def _shown(endpoint: str) -> str:
    """Without the password that may be in it."""
    if not endpoint:
        return "http://localhost:4318"
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else endpoint
