"""Collections: who owns which, for those who set a database up.

Owns no collection. May call: all owners. The highest rank.
"""

from typing import Final

from config import db
from utils import (
    attempts,
    audit,
    events,
    feedback,
    logins,
    mails,
    one_time_tokens,
    rsvps,
    users,
)

_OWNERS: Final = (
    attempts,
    audit,
    events,
    feedback,
    logins,
    mails,
    one_time_tokens,
    rsvps,
    users,
)


def declared_indexes() -> db.Indexes:
    """Each collection's indexes, as its owner declares them."""
    return {owner.COLLECTION: owner.INDEXES for owner in _OWNERS}
