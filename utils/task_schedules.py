"""Task schedules: queue what runs by itself, once for each time.

Owns no collection. May call: process_registry, tasks. Any number of workers
may do it at once: a process and a minute are one slot, which one of them takes
in the database. So it is the same on every broker.
"""

import logging
from datetime import datetime, timedelta
from io import BytesIO
from typing import Final

import pycron

from config import db
from models.base import utc_now
from models.payloads import Payload
from utils import process_registry, tasks

# A time that no worker was there for is made up for within this time; after
# that, the next one will do.
_MADE_UP_FOR: Final = timedelta(minutes=5)
_MINUTE: Final = timedelta(minutes=1)
_LOG: Final = logging.getLogger("muster.task_schedules")

# The last time that this process knows to be queued, by process.
_QUEUED: Final[dict[str, datetime]] = {}


async def queue_scheduled(now: datetime | None = None) -> int:
    """Queues the processes whose time has come.

    Args:
        now: by default, the present.

    Returns:
        How many this worker has queued.
    """
    now = now or utc_now()
    queued = 0
    for process in process_registry.list_processes():
        schedule = process.options.schedule
        if schedule is None:
            continue
        try:
            queued += await _queue(process, schedule, now)
        except db.UNAVAILABLE_ERRORS:
            raise
        except Exception:  # pylint: disable=broad-exception-caught
            # One bad schedule must not hold up the others.
            _LOG.exception("%s can't be scheduled", process.name)
    return queued


async def _queue(
    process: process_registry.Process, schedule: str, now: datetime
) -> bool:
    """Queues a process for the last of its times that has come."""
    time = _last_time(schedule, now)
    if time is None or _QUEUED.get(process.name) == time:
        return False
    arguments = process.dump_arguments(process.validate(Payload(b"{}")))
    queued = await tasks.submit_scheduled(
        process,
        arguments=BytesIO(arguments.to_bytes()),
        slot=f"{process.name}@{time:%Y-%m-%dT%H:%MZ}",
    )
    _QUEUED[process.name] = time
    return queued


def _last_time(schedule: str, now: datetime) -> datetime | None:
    minute = now.replace(second=0, microsecond=0)
    while minute > now - _MADE_UP_FOR:
        if pycron.is_now(schedule, minute):
            return minute
        minute -= _MINUTE
    return None
