"""Chores: all that workers do again and again, beside the requests.

Owns no collection. May call: closings, event_compute, gpus, http_events,
image_uses, mailer, mails, prewarming, rate_limits, session_door, session_line,
session_quotas, session_service, sessions, task_quotas, task_results,
task_schedules, task_worker, tasks, tiers. Each chore is safe in several workers
at once, and does what another one, killed, has left.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial

from config.broker import Broker
from config.chores import Chore
from config.engine import Engine
from config.http_events import recent
from config.mail import Transport
from config.main import settings
from config.passing import Passage
from config.settings import TaskWorker
from models.tiers import Tier
from utils import (
    closings,
    event_compute,
    gpus,
    http_events,
    image_uses,
    mailer,
    mails,
    prewarming,
    rate_limits,
    session_door,
    session_line,
    session_quotas,
    session_service,
    sessions,
    task_quotas,
    task_results,
    task_schedules,
    task_worker,
    tasks,
    tiers,
)

_MAIL_SECONDS = 2.0
_REMINDERS_SECONDS = 5 * 60.0
_CLOSINGS_SECONDS = 60.0
_SWEEP_SECONDS = 60 * 60.0
_TIERS_SECONDS = 1.0
_EVENTS_SECONDS = 2.0
# A worker that takes up its work again after a fault.
_PAUSE_SECONDS = 1.0
_SEND_SECONDS = 2.0
_LOST_SECONDS = 5.0
_SCHEDULE_SECONDS = 10.0
_EXPIRY_SECONDS = 60.0
_COUNT_SECONDS = 10.0
_SHORT_SECONDS = 10.0
_PREWARM_SECONDS = 1.0
_SESSIONS_SECONDS = 1.0
_RECONCILE_SECONDS = 10.0
_INVENTORY_SECONDS = 10.0
_DOOR_SECONDS = 1.0
_LINE_SECONDS = 2.0


def declared_chores(
    transport: Transport, limiter: rate_limits.RateLimiter, broker: Broker
) -> tuple[Chore, ...]:
    """The chores of a web worker.

    Args:
        transport: where its mails go.
        limiter: what it admits requests by.
        broker: what carries tasks.
    """
    if settings.task_worker is TaskWorker.INLINE:
        tasks_too = _running(broker, slots=settings.task_slots or 1)
    else:
        tasks_too = sending_chores(broker)
    return (
        *tasks_too,
        Chore(
            "dismissing who drew plots",
            task_results.drawers.rest,
            every_seconds=_PAUSE_SECONDS,
        ),
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
        _reading_tiers(
            limiter.apply, task_quotas.apply, session_quotas.apply
        ),
        Chore(
            "counting tasks that wait",
            tasks.count_waiting,
            every_seconds=_COUNT_SECONDS,
        ),
        *_of_seats(),
        Chore(
            "storing HTTP events",
            http_events.store_in_a_moment,
            every_seconds=_EVENTS_SECONDS,
            wake=recent.arrived,
        ),
    )


def frozen_chores(limiter: rate_limits.RateLimiter) -> tuple[Chore, ...]:
    """The chores of a process that is frozen whenever it serves nobody.

    It only keeps up with what it must know itself. All that others wait for,
    such as mail, is left to processes that go on.

    Args:
        limiter: what it admits requests by.
    """
    return (
        _reading_tiers(limiter.apply, task_quotas.apply, session_quotas.apply),
    )


def _of_seats() -> tuple[Chore, ...]:
    return (
        Chore(
            "finding seats without GPUs",
            event_compute.find_short,
            every_seconds=_SHORT_SECONDS,
        ),
    )


def session_chores(
    service: session_service.SessionService, engine: Engine
) -> tuple[Chore, ...]:
    """The chores of a web worker that sees to sessions.

    Args:
        service: what it does so by.
        engine: what runs them.
    """
    return (
        Chore(
            "looking for GPUs",
            service.take_stock,
            every_seconds=_INVENTORY_SECONDS,
        ),
        Chore(
            "looking after sessions",
            service.look_after,
            every_seconds=_SESSIONS_SECONDS,
            wake=sessions.changed,
        ),
        Chore(
            "reconciling sessions",
            service.reconcile,
            every_seconds=_RECONCILE_SECONDS,
        ),
        Chore(
            "having ready what seats will want",
            partial(prewarming.go_on, engine),
            every_seconds=_PREWARM_SECONDS,
            wake=event_compute.wanted,
        ),
        Chore(
            "counting sessions",
            sessions.count_up,
            every_seconds=_COUNT_SECONDS,
        ),
        Chore("counting GPUs", gpus.count_up, every_seconds=_COUNT_SECONDS),
    )


def door_chores(passage: Passage) -> tuple[Chore, ...]:
    """The chores of a web worker that lets people into sessions.

    Args:
        passage: what passes to them.
    """
    return (
        Chore(
            "offering GPUs to who waits in line",
            session_line.offer_due,
            every_seconds=_LINE_SECONDS,
            wake=gpus.released,
        ),
        Chore(
            "ending what passes to sessions that are over",
            partial(session_door.cut_over, passage),
            every_seconds=_DOOR_SECONDS,
        ),
    )


def task_chores(
    broker: Broker, *, slots: int | None = None
) -> tuple[Chore, ...]:
    """The chores of a process that only runs tasks.

    Args:
        broker: what carries them.
        slots: how many it runs at once; as the settings say by default, one
            for each processor.
    """
    slots = slots or settings.task_slots or os.cpu_count() or 1
    return (
        _reading_tiers(task_quotas.apply),
        *_running(broker, slots=slots),
    )


def _running(broker: Broker, *, slots: int) -> tuple[Chore, ...]:
    worker = task_worker.Worker(broker, slots=slots)
    return (
        Chore("running tasks", worker.work, every_seconds=_PAUSE_SECONDS),
        Chore(
            "taking lost tasks back",
            tasks.take_back_lost,
            every_seconds=_LOST_SECONDS,
        ),
        Chore(
            "scheduling tasks",
            task_schedules.queue_scheduled,
            every_seconds=_SCHEDULE_SECONDS,
        ),
        Chore(
            "forgetting expired tasks",
            tasks.sweep_expired,
            every_seconds=_EXPIRY_SECONDS,
        ),
        *sending_chores(broker),
    )


def _reading_tiers(*apply: Callable[[Sequence[Tier]], None]) -> Chore:
    return Chore(
        "reading tiers",
        partial(tiers.hand_out, *apply),
        every_seconds=_TIERS_SECONDS,
        wake=tiers.changed,
    )


def sending_chores(broker: Broker) -> tuple[Chore, ...]:
    """The chores of a process that submits tasks, whoever runs them."""
    if settings.task_broker_url is None:
        # Workers look into the database.
        return ()
    return (
        Chore(
            "sending tasks",
            partial(task_worker.send_new, broker),
            every_seconds=_SEND_SECONDS,
            wake=tasks.queued,
        ),
        # Not at each submission: it goes through all that waits.
        Chore(
            "sending tasks again",
            partial(task_worker.send_due, broker),
            every_seconds=_SEND_SECONDS,
        ),
    )
