"""Idempotency: a wish that is repeated is fulfilled once, and answered again.

Owns: `idempotency`. Indexes: see INDEXES. May call: tokens.

Of equal requests on any workers, the one that inserts the marker fulfils the
wish. What it writes and its answer are one transaction, which also takes its
name from the marker: a crash leaves all or nothing. Where the lease is over
without an answer, one of those who come puts its own name there; the former's
transaction, should it live, then finds its name gone, and writes nothing.

What no transaction can hold is one deed with a name, which stays when another
one takes over, and which can be done once.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from config import db
from models.base import new_id, utc_now
from models.exceptions import (
    IdempotencyKeyInFlightError,
    IdempotencyKeyReusedError,
)
from models.idempotency import Answer, Marker, Wish
from utils import tokens

COLLECTION: Final = "idempotency"
DOCUMENTS: Final = (Marker,)
INDEXES: Final = [
    # Whoever changes a marker names its owner: of several, one finds it.
    db.IndexModel("owner", unique=True),
    db.IndexModel("expires_at", expireAfterSeconds=0),
]

# Longer than a transaction is given, see `config/transactions.py`.
LEASE: Final = timedelta(seconds=20)
_KEPT: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Somebody fulfils a wish, under a name of their own.

    Attributes:
        wish: what is wanted.
        owner: names who fulfils it.
        deed: names what fulfils it, whoever does so.
    """

    wish: Wish
    owner: str
    deed: str


async def begin(wish: Wish) -> Attempt | Answer:
    """Lets the caller fulfil a wish; or what was answered when it was.

    Raises:
        IdempotencyKeyReusedError: the key was sent with another request.
        IdempotencyKeyInFlightError: somebody else fulfils it right now.
    """
    attempt = Attempt(wish, new_id(), new_id())
    marker_id = tokens.derive_secret("idempotency", wish.caller, wish.key)
    while not await _mark(marker_id, attempt):
        document = await db.find_by_id(COLLECTION, marker_id)
        if document is None:
            # Whoever had it failed a moment ago.
            continue
        marker = Marker.from_document(document)
        if not tokens.is_same(marker.fingerprint, _fingerprint(wish)):
            raise IdempotencyKeyReusedError()
        if marker.answer is not None:
            return _read(marker.answer, wish)
        if marker.lease_until > utc_now():
            raise IdempotencyKeyInFlightError()
        if await _take_over(marker, attempt):
            return Attempt(wish, attempt.owner, marker.deed)
    return attempt


async def finish(attempt: Attempt, *, answer: Answer) -> None:
    """Keeps the answer; part of the transaction that fulfils the wish.

    Raises:
        IdempotencyKeyInFlightError: it took too long, and somebody else has
            taken over: nothing of the transaction must be written.
    """
    result = await db.collection(COLLECTION).update_one(
        {"owner": attempt.owner},
        # Under this name, nobody gives up any more.
        {"$set": {"owner": new_id(), "answer": _write(answer, attempt.wish)}},
    )
    if result.matched_count == 0:
        raise IdempotencyKeyInFlightError()


async def give_up(attempt: Attempt) -> None:
    """Lets the next one fulfil the wish at once, as nothing was written.

    Should the answer be kept after all, it stays.
    """
    await db.collection(COLLECTION).delete_one({"owner": attempt.owner})


async def leave(attempt: Attempt) -> None:
    """Lets the next one find out at once what was written, and go on."""
    await db.collection(COLLECTION).update_one(
        {"owner": attempt.owner},
        {"$set": {"owner": new_id(), "lease_until": utc_now()}},
    )


async def _mark(marker_id: str, attempt: Attempt) -> bool:
    now = utc_now()
    marker = Marker(
        id=marker_id,
        fingerprint=_fingerprint(attempt.wish),
        deed=attempt.deed,
        owner=attempt.owner,
        lease_until=now + LEASE,
        expires_at=now + _KEPT,
    )
    try:
        await db.collection(COLLECTION).insert_one(marker.dict())
    except db.DuplicateKeyError:
        return False
    return True


async def _take_over(marker: Marker, attempt: Attempt) -> bool:
    result = await db.collection(COLLECTION).update_one(
        {"owner": marker.owner},
        {"$set": {"owner": attempt.owner, "lease_until": utc_now() + LEASE}},
    )
    return result.matched_count == 1


def _fingerprint(wish: Wish) -> str:
    # A keyed hash: the request may hold a password, which nobody must be able
    # to guess from it.
    return tokens.derive_secret(
        "fingerprint", wish.caller, wish.key, wish.digest
    )


def _write(answer: Answer, wish: Wish) -> bytes:
    head = json.dumps([answer.status, answer.headers]).encode()
    return tokens.seal(head + b"\n" + answer.body, _secret(wish))


def _read(sealed: bytes, wish: Wish) -> Answer:
    head, _, body = tokens.unseal(sealed, _secret(wish)).partition(b"\n")
    status, headers = json.loads(head)
    return Answer(status, headers, body)


def _secret(wish: Wish) -> str:
    return tokens.derive_secret("answer", wish.caller, wish.key)
