"""Task quotas: how much of the queue a member may use, by their tier.

Owns no collection. May call: nobody. Each process holds all tiers' quotas in
memory, as `rate_limits` does with limits: who submits or runs a task asks the
database nothing for them, and a change counts everywhere after a second.
"""

from collections.abc import Mapping, Sequence

from config.main import settings
from models.tasks import TaskQuota
from models.tiers import Tier, TierTaskQuotas

_MEGABYTE = 1024 * 1024


class _Known:
    """What the tiers said when they were read last."""

    tiers: Mapping[str, TaskQuota] = {}


def quota_of(tier: str | None) -> TaskQuota:
    """What each member of a tier may use.

    Args:
        tier: its name; None for members without one, and for all strangers
            together.
    """
    known = None if tier is None else _Known.tiers.get(tier)
    return known or _quota_of(TierTaskQuotas())


def apply(found: Sequence[Tier]) -> None:
    """Puts the quotas of all tiers in force."""
    _Known.tiers = {tier.name: _quota_of(tier.task_quotas) for tier in found}


def _quota_of(own: TierTaskQuotas) -> TaskQuota:
    stored_mb = own.stored_mb or settings.task_stored_mb_max
    return TaskQuota(
        queued=own.queued or settings.task_queued_max,
        running=own.running or settings.task_running_max,
        stored=own.stored or settings.task_stored_max,
        stored_bytes=stored_mb * _MEGABYTE,
    )
