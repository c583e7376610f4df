"""Session door: who may pass to what runs in a session.

Owns no collection. May call: sessions, tokens. Each request is one read: a
session that has ended lets nobody pass, at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from config.door_headers import Target
from config.passing import Passage
from models.logins import Actor
from models.session_errors import SessionNotFoundError, SessionStateError
from models.sessions import Session, SessionStatus, proxy_path
from utils import sessions, tokens

_PURPOSE: Final = "session door"


@dataclass(frozen=True, slots=True)
class Shown:
    """What somebody shows at the door.

    Attributes:
        actor: who they are, if that is known.
        tokens: what may be the session's own token.
        door_pass: what `pass_of` gave whoever showed that token.
    """

    actor: Actor | None
    tokens: Sequence[str]
    door_pass: str | None

    @property
    def is_nothing(self) -> bool:
        """True where there is nothing that could open any door."""
        return self.actor is None and not self.tokens and not self.door_pass


async def admit(session_id: str, *, shown: Shown) -> Session:
    """The session that somebody may pass to.

    Raises:
        SessionNotFoundError: there is none, or it is somebody else's.
        SessionStateError: nothing runs in it, or not yet.
    """
    session = await sessions.find(session_id)
    if session is None or not _opens(shown, session):
        raise SessionNotFoundError(session_id)
    if session.status is not SessionStatus.RUNNING or session.host is None:
        starts = session.status is SessionStatus.STARTING
        raise SessionStateError(
            session_id,
            status=session.status,
            detail="It starts, and nothing answers yet: ask again in a moment."
            if starts
            else "",
        )
    return session


def pass_of(session: Session) -> str:
    """What opens a session's door from now on, in place of its token.

    Only this service can make it, so that no container can.
    """
    return tokens.derive_secret(_PURPOSE, session.id, session.token)


def is_token_of(session: Session, text: str) -> bool:
    """Whether `text` is the session's own token."""
    return tokens.is_same(
        tokens.hash_secret(text), tokens.hash_secret(session.token)
    )


def target_of(session: Session) -> Target:
    """Where requests to a running session go."""
    assert session.host is not None and session.host_port is not None
    return Target(
        session_id=session.id,
        host=session.host,
        port=session.host_port,
        token=session.token,
        prefix=proxy_path(session.id).rstrip("/"),
        keeps_prefix=session.template.base_path,
    )


async def cut_over(passage: Passage) -> int:
    """Ends what passes to sessions that are over; a chore of each process.

    Returns:
        How many sessions that were.
    """
    over = 0
    for session_id in passage.session_ids:
        session = await sessions.find(session_id)
        if session is None or session.status is not SessionStatus.RUNNING:
            passage.cut(session_id)
            over += 1
    return over


def _opens(shown: Shown, session: Session) -> bool:
    return (
        (shown.actor is not None and shown.actor.user_id == session.owner_id)
        or any(is_token_of(session, text) for text in shown.tokens)
        or _is_pass_of(session, shown.door_pass)
    )


def _is_pass_of(session: Session, text: str | None) -> bool:
    # As hashes: what somebody shows may hold any letter.
    return text is not None and tokens.is_same(
        tokens.hash_secret(text), tokens.hash_secret(pass_of(session))
    )
