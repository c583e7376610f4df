"""Exports: all that is kept about a member, in one document.

Owns no collection. May call: api_keys, audit, events, feedback, images,
logins, mails, rsvps, session_requests, sessions, tasks, users.
"""

from models.api_keys import ApiKeyRead
from models.audit import AuditAction
from models.base import utc_now
from models.events import EventRead
from models.exports import AccountExport, KeptMail, KeptRsvp, KeptSessionRequest
from models.feedback import FeedbackRead
from models.images import ImageRead
from models.logins import Actor, LoginRead
from models.sessions import SessionRead
from models.tasks import TaskRead
from models.users import MemberName, PrivateUser
from utils import (
    api_keys,
    audit,
    events,
    feedback,
    images,
    logins,
    mails,
    rsvps,
    session_requests,
    sessions,
    tasks,
    users,
)


async def export_account(actor: Actor) -> AccountExport:
    """What is kept about the caller; secrets are kept as hashes, and left out.

    Raises:
        UserNotFoundError: the account is gone.
    """
    user_id = actor.user_id
    user = await users.get_user(user_id)
    name = MemberName.model_validate(user, from_attributes=True)
    await audit.record(
        AuditAction.ACCOUNT_EXPORTED, actor_id=user_id, target_id=user_id
    )
    return AccountExport(
        exported_at=utc_now(),
        account=PrivateUser.of(user),
        firebase_id=user.firebase_id,
        logins=[
            LoginRead.of(login, actor=actor)
            for login in await logins.list_all_of(user_id)
        ],
        api_keys=[
            ApiKeyRead.of(key) for key in await api_keys.list_all_of(user_id)
        ],
        events=[
            EventRead.of(event)
            for event in await events.list_created_by(user_id)
        ],
        rsvps=[KeptRsvp.of(rsvp) for rsvp in await rsvps.list_of(user_id)],
        feedback=[
            FeedbackRead.of(said, author=name)
            for said in await feedback.list_by(user_id)
        ],
        images=[ImageRead.of(image) for image in await images.list_of(user_id)],
        mails=[
            KeptMail.of(mail)
            for mail in await mails.list_of(
                user_id, email=users.email_key(user.email)
            )
        ],
        session_requests=[
            KeptSessionRequest.of(request)
            for request in await session_requests.list_of(user_id)
        ],
        sessions=[
            SessionRead.of(session, viewer_id=user_id)
            for session in await sessions.list_of(user_id)
        ],
        tasks=[TaskRead.of(task) for task in await tasks.list_of(user_id)],
        audit=await audit.list_about(user_id),
    )
