"""Tiers and their members: what concerns both.

Owns no collection. May call: tiers, users.
"""

from config import transactions
from models.exceptions import TierInUseError
from models.logins import Actor
from utils import tiers, users


async def delete_tier(name: str, *, actor: Actor) -> None:
    """Deletes a tier that nobody is in.

    Whoever joins it meanwhile has changed the tier in the same transaction, so
    that one of both begins again, and sees what the other one did.

    Raises:
        TierNotFoundError: there is none.
        TierInUseError: it has members.
    """

    async def work() -> None:
        tier = await tiers.get_tier(name)
        if await users.is_tier_taken(name):
            raise TierInUseError(name)
        await tiers.delete_tier(tier, actor=actor)

    await transactions.run(work, turn=name)
