"""Audit: write down who did what to whom; read it.

Owns: `audit`. Indexes: see INDEXES. May call: nobody. Entries are only
ever added. Where a deed is a write itself, its entry belongs to the same
transaction: there is none without the other.
"""

from typing import Final

from config import db
from config.origin import origin_of_task
from models.audit import AuditAction, AuditEntry

COLLECTION: Final = "audit"
INDEXES: Final = [
    db.IndexModel([("at", db.DESCENDING), ("_id", db.DESCENDING)]),
    db.IndexModel([("actor_id", db.ASCENDING), ("at", db.DESCENDING)]),
    db.IndexModel([("target_id", db.ASCENDING), ("at", db.DESCENDING)]),
    db.IndexModel([("action", db.ASCENDING), ("at", db.DESCENDING)]),
]


async def record(
    action: AuditAction,
    *,
    actor_id: str | None,
    target_id: str | None,
    **facts: str,
) -> None:
    """Writes down a deed of the request that this task works for.

    Args:
        action: what was done.
        actor_id: the member who did it; None for strangers and the operator.
        target_id: whom or what it was done to.
        facts: what was changed, never a secret.
    """
    origin = origin_of_task.get()
    entry = AuditEntry(
        actor_id=actor_id,
        action=action,
        target_id=target_id,
        address=origin.address,
        request_id=origin.request_id,
        facts=facts,
    )
    await db.collection(COLLECTION).insert_one(entry.dict())
