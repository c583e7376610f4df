"""Traces reach a collector: OTLP over HTTP, from a worker that stops."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# The module makes its classes when it is imported.
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # pylint: disable=no-name-in-module
    ExportTraceServiceRequest,
)

from tests.service.running import MARKS, Person, Service

pytestmark = MARKS

_TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
_PARENT_ID = "00f067aa0ba902b7"


@contextmanager
def collecting() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector: its address, and what it gets."""
    got: list[ExportTraceServiceRequest] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # pylint: disable=invalid-name  # Its own.
            """Takes spans."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            got.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", got
        finally:
            server.shutdown()
            thread.join()


def spans_of(
    got: list[ExportTraceServiceRequest],
) -> list[tuple[Any, dict[str, Any], str]]:
    """Each span with its attributes and its service."""
    return [
        (
            span,
            _values(span.attributes),
            _values(resource.resource.attributes)["service.name"],
        )
        for request in got
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value"))
        for pair in attributes
    }


def test_a_request_is_traced(tmp_path: Path) -> None:
    """The batch is not due for an hour: the worker sends it as it stops."""
    with collecting() as (url, got):
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",
            "WEB_CONCURRENCY": "1",
        }
        with Service(tmp_path, **settings) as service:
            with service.client() as client:
                event_id = Person.register(client).post_event()["id"]
                asked = client.get(
                    f"/v1/events/{event_id}?token=s3cret",
                    headers={
                        "traceparent": f"00-{_TRACE_ID}-{_PARENT_ID}-01",
                        "X-Request-ID": "traced",
                    },
                )
                client.get("/health/ready")
            assert service.stop() == 0
        spans = spans_of(got)
    (mine,) = [
        span for span, values, _ in spans
        if values.get("muster.request_id") == "traced"
    ]  # fmt: skip
    values = _values(mine.attributes)
    assert asked.status_code == 404, "it waits for approval"
    assert mine.name == "GET /v1/events/{event_id}"
    assert mine.trace_id.hex() == _TRACE_ID
    assert mine.parent_span_id.hex() == _PARENT_ID
    assert values["http.route"] == "/v1/events/{event_id}"
    assert values["http.response.status_code"] == 404
    assert "s3cret" not in values["url.query"]
    children = [s for s, _, _ in spans if s.parent_span_id == mine.span_id]
    assert [child.name for child in children] == ["mongodb find"]
    assert {service for _, _, service in spans} == {"muster"}
    assert not [s for s, v, _ in spans if "/health" in str(v.get("url.path"))]
