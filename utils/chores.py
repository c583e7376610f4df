"""Chores: all that workers do again and again, beside the requests.

Owns no collection. May call: closings, http_events, image_uses, mailer, mails,
rate_limits, tiers. Each chore is safe in several workers at once, and does
what another one, killed, has left.
"""

from functools import partial

from config.chores import Chore
from config.http_events import recent
from config.mail import Transport
from utils import (
    closings,
    http_events,
    image_uses,
    mailer,
    mails,
    rate_limits,
    tiers,
)

_MAIL_SECONDS = 2.0
_REMINDERS_SECONDS = 5 * 60.0
_CLOSINGS_SECONDS = 60.0
_SWEEP_SECONDS = 60 * 60.0
_LIMITS_SECONDS = 1.0
_EVENTS_SECONDS = 2.0


def declared_chores(
    transport: Transport, limiter: rate_limits.RateLimiter
) -> tuple[Chore, ...]:
    """The chores of a worker.

    Args:
        transport: where its mails go.
        limiter: what it admits requests by.
    """
    return (
        Chore(
            "sending mail",
            partial(mailer.deliver_due, transport),
            every_seconds=_MAIL_SECONDS,
            wake=mails.queued,
        ),
        Chore(
            "reminding guests",
            mailer.queue_reminders,
            every_seconds=_REMINDERS_SECONDS,
        ),
        Chore(
            "closing accounts",
            closings.resume_closings,
            every_seconds=_CLOSINGS_SECONDS,
        ),
        Chore(
            "sweeping images",
            image_uses.sweep_images,
            every_seconds=_SWEEP_SECONDS,
        ),
        Chore(
            "reading rate limits",
            limiter.refresh,
            every_seconds=_LIMITS_SECONDS,
            wake=tiers.changed,
        ),
        Chore(
            "storing HTTP events",
            http_events.store_in_a_moment,
            every_seconds=_EVENTS_SECONDS,
            wake=recent.arrived,
        ),
    )
