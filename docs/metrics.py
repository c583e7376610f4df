"""Docs of `routes/metrics.py`."""

from docs import EndpointDoc

GET_METRICS: EndpointDoc = {
    "summary": "What Prometheus asks for",
    "description": """Counters of all workers, in Prometheus' text format:
requests and their durations by method, route template and status, commands of
the database, hits of the cache, memory of each worker. What another worker did
may be a second old.

Send `METRICS_TOKEN` as bearer token. Where none is set, it is open in
development, and answers 404 elsewhere. It counts for no rate limit.""",
    "response_description": "One line for each series.",
}
