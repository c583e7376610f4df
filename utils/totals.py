"""Totals: what this process counts for Prometheus, beside what requests cost.

Owns no collection. May call: rate_limits.
"""

from config import cache, http_events
from config.metrics import Total
from utils import rate_limits


def declared_totals(limiter: rate_limits.RateLimiter) -> tuple[Total, ...]:
    """The numbers of a process whose requests `limiter` admits."""
    return (
        Total(
            "muster_cache_hits",
            "Answers that were in the cache.",
            lambda: cache.STATISTICS.hits,
        ),
        Total(
            "muster_cache_misses",
            "Answers that had to be made.",
            lambda: cache.STATISTICS.misses,
        ),
        Total(
            "muster_rate_limit_refusals",
            "Requests that were over their limit.",
            lambda: limiter.refused,
        ),
        Total(
            "muster_http_events_dropped",
            "HTTP events that newer ones displaced before they were stored.",
            lambda: http_events.recent.dropped,
        ),
    )
