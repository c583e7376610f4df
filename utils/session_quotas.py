"""Session quotas: how much of the GPUs a member may use, by their tier.

Owns no collection. May call: nobody. Each process holds all tiers' quotas in
memory, as `task_quotas` does.
"""

from collections.abc import Mapping, Sequence

from config.main import settings
from models.sessions import SessionQuota
from models.tiers import Tier, TierSessionQuotas


class _Known:
    """What the tiers said when they were read last."""

    tiers: Mapping[str, SessionQuota] = {}


def quota_of(tier: str | None) -> SessionQuota:
    """What each member of a tier may use; None is no tier."""
    known = None if tier is None else _Known.tiers.get(tier)
    return known or _quota_of(TierSessionQuotas())


def apply(found: Sequence[Tier]) -> None:
    """Puts the quotas of all tiers in force."""
    _Known.tiers = {tier.name: _quota_of(tier.session_quotas) for tier in found}


def _quota_of(own: TierSessionQuotas) -> SessionQuota:
    return SessionQuota(
        concurrent=own.sessions or settings.session_max,
        gpu_hours_per_week=own.gpu_hours_per_week
        or settings.session_gpu_hours_per_week,
    )
