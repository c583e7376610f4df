"""Task quotas: how much of the queue somebody may use.

Owns no collection. May call: nobody. Here a tier's numbers take the place of
the settings'.
"""

from config.main import settings
from models.logins import Actor
from models.tasks import TaskQuota

_MEGABYTE = 1024 * 1024


def quota_of(actor: Actor | None) -> TaskQuota:
    """What `actor` may use; all strangers share what one member has."""
    del actor
    return TaskQuota(
        queued=settings.task_queued_max,
        running=settings.task_running_max,
        stored=settings.task_stored_max,
        stored_bytes=settings.task_stored_mb_max * _MEGABYTE,
    )
