"""Migrations: what was done to the data once, and who does it now."""

from models.base import ExtendedBaseModel, UtcTime


class MigrationRecord(ExtendedBaseModel):
    """A migration that was begun, as stored; its id is its name.

    Attributes:
        holder: who does it, or did it last.
        position: where its next batch begins, as the last one said; None
            before the first and after the last.
        batches: how many are done.
        began_at: when it was begun.
        done_at: when it was done; None before.
    """

    holder: str
    position: str | None = None
    batches: int = 0
    began_at: UtcTime
    done_at: UtcTime | None = None


class MigrationTurn(ExtendedBaseModel):
    """The turn to migrate, which one has at a time, as stored.

    Attributes:
        holder: who has it.
        lease_until: when they are taken for dead.
    """

    holder: str
    lease_until: UtcTime
