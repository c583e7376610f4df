"""Telemetry: traces of requests, for those who collect them (OpenTelemetry).

The usual `OTEL_…` variables turn it on. FastAPI makes the spans, and sends them
by OTLP over HTTP from a thread that each worker starts for itself; what is left
is sent when the worker stops. Without the variables, none of this is imported.
"""

import os
from collections.abc import Mapping, MutableMapping
from time import time_ns
from typing import Any, Final

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace

from config.masking import mask_query
from config.origin import Origin

_ENDPOINTS: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)
# Where a collector on the same machine listens.
_USUAL_ENDPOINT: Final = "http://localhost:4318"
# Those who watch the service ask every few seconds, and learn nothing here.
_WATCHED: Final = ("/health/", "/metrics")


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the variables ask for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter == "none":
        return False
    return exporter == "otlp" or any(map(environment.get, _ENDPOINTS))


def complete(environment: MutableMapping[str, str]) -> None:
    """Adds what the variables may leave out."""
    if not any(map(environment.get, _ENDPOINTS)):
        environment[_ENDPOINTS[0]] = _USUAL_ENDPOINT
    if "service.name=" not in environment.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        environment.setdefault("OTEL_SERVICE_NAME", "muster")


def name_span(origin: Origin) -> None:
    """Gives the span of a request its id, by which the log knows it.

    The query is in the span already, with what opens a member's calendar.
    """
    span = trace.get_current_span()
    span.set_attribute("muster.request_id", origin.request_id)
    query = mask_query(origin.scope["query_string"])
    if query:
        span.set_attribute("url.query", query)


def note_command(name: str, seconds: float) -> None:
    """Adds a span of a command that the database has just answered."""
    if not trace.get_current_span().get_span_context().is_valid:
        return
    ended_at = time_ns()
    span = trace.get_tracer("muster").start_span(
        f"mongodb {name}",
        kind=trace.SpanKind.CLIENT,
        attributes={"db.system.name": "mongodb", "db.operation.name": name},
        start_time=ended_at - int(seconds * 1e9),
    )
    span.end(ended_at)


def _is_watched(scope: MutableMapping[str, Any]) -> bool:
    return str(scope["path"]).startswith(_WATCHED)


IS_ON: Final = is_wanted(os.environ)
if IS_ON:
    complete(os.environ)

# A span for each dependency and each answer's JSON costs four times the rest.
CONFIG: Final[TelemetryConfig] = {
    "auto_configure": IS_ON,
    # Else each request looks for a provider in the environment: 3 µs.
    "tracing": IS_ON,
    "operation_spans": False,
    "metrics": False,
    "logs": False,
    "exclude": _is_watched,
}
