"""Collections: who owns which, for those who set a database up.

Owns no collection. May call: all owners. The highest rank.
"""

from collections.abc import Sequence
from typing import Final

from config import db, files, validators
from utils import (
    api_keys,
    attempts,
    audit,
    closings,
    events,
    feedback,
    gpus,
    http_events,
    idempotency,
    images,
    logins,
    mails,
    migrations,
    one_time_tokens,
    rate_windows,
    rsvps,
    seat_grants,
    session_requests,
    session_templates,
    sessions,
    tasks,
    tiers,
    users,
)

_OWNERS: Final = (
    api_keys,
    attempts,
    audit,
    closings,
    events,
    feedback,
    gpus,
    http_events,
    idempotency,
    images,
    logins,
    mails,
    migrations,
    one_time_tokens,
    rate_windows,
    rsvps,
    seat_grants,
    session_requests,
    session_templates,
    sessions,
    tasks,
    tiers,
    users,
)
_FILE_OWNERS: Final = (images, tasks)


def declared_indexes() -> db.Indexes:
    """Each collection's indexes, as its owner declares them."""
    declared: dict[str, Sequence[db.IndexModel]] = {
        owner.COLLECTION: owner.INDEXES for owner in _OWNERS
    }
    for owner in _FILE_OWNERS:
        declared |= files.indexes(owner.COLLECTION)
    return declared


def declared_models() -> validators.Models:
    """What the documents of each collection are, as its owner declares.

    The files' own two collections are not among them: MongoDB's specification
    says what is in those.
    """
    return {owner.COLLECTION: owner.DOCUMENTS for owner in _OWNERS}
