"""A real receiver of OTLP over HTTP, which keeps the spans that it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Seen:
    """A span as it arrived."""

    proto: Span

    @property
    def said(self) -> dict[str, Any]:
        return {each.key: _plain(each.value) for each in self.proto.attributes}

    @property
    def happened(self) -> list[str]:
        return [each.name for each in self.proto.events]


@dataclass
class Collector:
    url: str
    spans: dict[str, Seen] = field(default_factory=dict)
    """By name; of several with one name, the last."""
    resource: dict[str, Any] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)

    def above(self, name: str) -> str | None:
        """The name of a span's parent."""
        ids = {seen.proto.span_id: name for name, seen in self.spans.items()}
        return ids.get(self.spans[name].proto.parent_span_id)

    @property
    def text(self) -> str:
        return "\n".join(str(seen.proto) for seen in self.spans.values())


@contextmanager
def collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                got.resource = {one.key: _plain(one.value) for one in each.resource.attributes}
                got.spans |= {span.name: Seen(span) for scope in each.scope_spans for span in scope.spans}
            got.paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        got = Collector(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield got
        server.shutdown()


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    return getattr(value, kind)
