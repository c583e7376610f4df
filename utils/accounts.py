"""Accounts: what concerns a member and their logins or mails together.

Owns no collection. May call: api_keys, attempts, audit, logins, mails,
one_time_tokens, session_line, sessions, tiers, tokens, users. Each use case
writes the member first and the logins then: a log-in that is made meanwhile is
met there, or has read the member after that. What nobody could repeat after a
crash in between, a new password, ends the logins in the member's own
transaction as well.
"""

from collections.abc import Collection
from typing import Final

from pydantic import SecretStr

from config import transactions
from models.audit import AuditAction
from models.base import utc_now
from models.exceptions import (
    BadCredentialsError,
    EmailTakenError,
    ForbiddenError,
)
from models.logins import Actor, TokenPair
from models.mails import Mail, MailKind
from models.one_time_tokens import (
    EmailVerification,
    PasswordReset,
    PasswordResetRequest,
    Purpose,
)
from models.sessions import EndReason
from models.users import Role, User, UserAdminUpdate, UserCreate, UserUpdate
from utils import (
    api_keys,
    attempts,
    audit,
    logins,
    mails,
    one_time_tokens,
    session_line,
    sessions,
    tiers,
    tokens,
    users,
)

# Whoever asks again within this time is not sent another mail.
_PAUSE_SECONDS: Final = 5 * 60
# So many resets one address may ask for in a quarter of an hour.
_MOST_RESETS: Final = 50


async def register(new: UserCreate) -> User:
    """Registers a member, who gets a mail that verifies the e-mail.

    Raises:
        EmailTakenError: the e-mail has an account.
        InvalidRequestError: the password is one of the commonest.
    """
    return await admit(await users.prepare_user(new))


async def admit(user: User) -> User:
    """Stores a new member, who gets a mail: a welcome, if the e-mail is proven.

    Raises:
        EmailTakenError: the e-mail has an account.
    """

    async def work() -> None:
        await users.add_user(user)
        if user.email_verified:
            await _send_welcome(user)
        else:
            await _send_verification(user)
        await _record_own(AuditAction.MEMBER_REGISTERED, user)

    try:
        await transactions.run(work, turn=users.email_key(user.email))
    except EmailTakenError:
        # It may be themselves: a database that dies after it has written, and
        # before it says so, is told again. A transaction around this one has
        # failed with it, and can read nothing more.
        if transactions.is_open() or not await users.find_names([user.id]):
            raise
    return user


async def create_admin(new: UserCreate) -> User:
    """Registers an admin on the operator's word; nobody gets a mail.

    Raises:
        EmailTakenError: the e-mail has an account.
        InvalidRequestError: the password is one of the commonest.
    """
    user = await users.prepare_user(new, role=Role.ADMIN)

    async def work() -> None:
        await users.add_user(user)
        await audit.record(
            AuditAction.MEMBER_REGISTERED,
            actor_id=None,
            target_id=user.id,
            role=user.role.value,
        )

    await transactions.run(work, turn=users.email_key(new.email))
    return user


async def log_in(
    email: str, password: str, *, address: str, client: str
) -> TokenPair:
    """Signs a member in by e-mail and password.

    Raises:
        BadCredentialsError: they don't belong together.
        TooManyAttemptsError: too many logins failed for this e-mail.
    """
    user = await check_password(email, password, address=address)
    return await logins.create_login(user, client=client)


async def check_password(email: str, password: str, *, address: str) -> User:
    """The member whose e-mail and password these are; no login is made.

    Raises:
        BadCredentialsError: they don't belong together.
        TooManyAttemptsError: too many logins failed for this e-mail.
    """
    attempt = await attempts.begin(users.email_key(email), source=address)
    user = await users.find_user_by_email(email)
    if not await users.may_log_in(user, password) or user is None:
        # What was typed as e-mail is not written down: it may be a password.
        await audit.record(
            AuditAction.LOGIN_FAILED,
            actor_id=None,
            target_id=None if user is None else user.id,
        )
        raise BadCredentialsError()
    await attempts.succeed(attempt)
    return user


async def update_own(
    change: UserUpdate, *, actor: Actor, if_match: Collection[str]
) -> User:
    """Changes the caller's account; a new password ends all other logins.

    Raises:
        ForbiddenError: current_password is wrong.
        TooManyAttemptsError: it was wrong too often.
        EmailTakenError: the new e-mail has an account.
        StaleError: the account is in another state than `if_match` says.
        InvalidRequestError: the new password is one of the commonest, or the
            image not theirs.
    """
    confirmed: User | None = None
    if change.current_password is not None:
        confirmed = await confirm_password(change.current_password, actor=actor)
    password_hash = (
        await users.hash_new_password(change.password)
        if "password" in change.model_fields_set
        else None
    )

    async def work() -> User:
        before, user = await users.update_user(
            change,
            actor=actor,
            password_hash=password_hash,
            confirmed=confirmed,
            if_match=if_match,
        )
        if not users.is_email_of(before, user.email):
            await _send_verification(user)
            await _record_own(AuditAction.EMAIL_CHANGED, user)
        if password_hash is not None:
            await one_time_tokens.revoke_tokens_of(
                user.id, purpose=Purpose.PASSWORD_RESET
            )
            await _record_own(AuditAction.PASSWORD_CHANGED, user)
            # The old password is gone: nobody could repeat this after a crash.
            await logins.revoke_logins_of(user.id, but=actor.login_id)
        return user

    if confirmed is None:
        # One document changes, or two in a transaction of their own.
        return await work()
    user = await transactions.run(work, turn=actor.user_id)
    if password_hash is not None:
        # As in `reset_password`.
        await logins.revoke_logins_of(user.id, but=actor.login_id)
    return user


async def confirm_password(given: SecretStr, *, actor: Actor) -> User:
    """The caller, who knows their password.

    Raises:
        UserNotFoundError: the account is gone.
        ForbiddenError: the password is wrong.
        TooManyAttemptsError: it was wrong too often.
    """
    # A stolen access token is no licence to guess the password.
    attempt = await attempts.begin(actor.user_id, source=actor.login_id)
    try:
        user = await users.confirm_password(actor.user_id, given)
    except ForbiddenError:
        await audit.record(
            AuditAction.PASSWORD_REFUSED,
            actor_id=actor.user_id,
            target_id=actor.user_id,
        )
        raise
    await attempts.succeed(attempt)
    return user


async def request_verification(actor: Actor) -> None:
    """Sends the caller a mail that verifies their e-mail, if it is not yet.

    Raises:
        UserNotFoundError: the account is gone.
    """
    user = await users.get_user(actor.user_id)
    if not user.email_verified:
        await _send_verification(user)


async def verify_email(proof: EmailVerification) -> None:
    """Verifies the e-mail that the token was sent to.

    Raises:
        InvalidTokenError: it proves nothing.
    """

    async def work() -> None:
        token = await one_time_tokens.redeem(
            proof.token, purpose=Purpose.EMAIL_VERIFICATION
        )
        before, user = await users.prove_email(token.user_id, email=token.email)
        await _note_proof(before, user)

    await transactions.run(work)


async def request_password_reset(
    request: PasswordResetRequest, *, address: str
) -> None:
    """Sends a mail that resets the password, if there is such an account.

    Whether there is one is looked up when the mail is sent. Here all that is
    done, whatever the e-mail, is to count and to queue: neither the answer nor
    its cost tells.
    """
    if not await attempts.may(
        "password-reset", source=address, limit=_MOST_RESETS
    ):
        return
    email = users.email_key(request.email)
    await mails.queue(
        Mail(
            key=_key(MailKind.PASSWORD_RESET, tokens.hash_secret(email)),
            kind=MailKind.PASSWORD_RESET,
            email=email,
        )
    )


async def reset_password(reset: PasswordReset) -> None:
    """Sets a new password, and ends all logins.

    Raises:
        InvalidTokenError: the token proves nothing.
        InvalidRequestError: the password is one of the commonest; the token
            stays good.
    """
    purpose = Purpose.PASSWORD_RESET
    # Strangers' guesses must not have us compute hashes.
    await one_time_tokens.get_token(reset.token, purpose=purpose)
    password_hash = await users.hash_new_password(
        reset.new_password, field="new_password"
    )

    async def work() -> User:
        token = await one_time_tokens.redeem(reset.token, purpose=purpose)
        before, user = await users.prove_email(
            token.user_id, email=token.email, password_hash=password_hash
        )
        await _note_proof(before, user)
        await one_time_tokens.revoke_tokens_of(user.id, purpose=purpose)
        await _record_own(AuditAction.PASSWORD_RESET, user)
        # The token is used up: nobody could repeat this after a crash.
        await logins.revoke_logins_of(user.id)
        return user

    user = await transactions.run(work)
    # A log-in with the old password, made meanwhile, has seen the member as
    # they were before; it is ended here.
    await logins.revoke_logins_of(user.id)


async def administer(
    user_id: str,
    change: UserAdminUpdate,
    *,
    actor: Actor,
    if_match: Collection[str],
) -> User:
    """Changes a member's role or tier, or disables account and logins.

    Raises:
        UserNotFoundError: there is none.
        InvalidRequestError: there is no such tier.
        ForbiddenError: an admin would lock themselves out.
        StaleError: the account is in another state than `if_match` says.
    """
    if user_id == actor.user_id:
        raise ForbiddenError("Another admin must change your own account.")
    return await _administer(
        user_id, change, actor_id=actor.user_id, if_match=if_match
    )


async def make_admin(user: User) -> User:
    """Makes a member an admin, on the operator's word."""
    return await _administer(
        user.id, UserAdminUpdate(role=Role.ADMIN), actor_id=None
    )


async def _administer(
    user_id: str,
    change: UserAdminUpdate,
    *,
    actor_id: str | None,
    if_match: Collection[str] = (),
) -> User:
    async def work() -> User:
        before = await users.get_user(user_id)
        if change.tier is not None:
            await tiers.claim(change.tier)
        after = await users.administer_user(user_id, change, if_match=if_match)
        await audit.record(
            AuditAction.MEMBER_CHANGED,
            actor_id=actor_id,
            target_id=user_id,
            **_difference(before, after),
        )
        return after

    # The logins are no part of it: one that is made meanwhile must either be
    # met by the second step, or read what the first one wrote.
    user = await transactions.run(work, turn=user_id)
    await _tell_logins(user)
    if user.disabled:
        # Repeatable, as the above: nobody new starts any.
        await session_line.leave_all(user_id)
        await sessions.end_of_member(user_id, reason=EndReason.ADMIN)
    return user


def _difference(before: User, after: User) -> dict[str, str]:
    """What an admin changed of a member, by field."""
    states = [
        {
            "role": user.role.value,
            "tier": user.tier or "none",
            "disabled": str(user.disabled).lower(),
        }
        for user in (before, after)
    ]
    return {
        name: f"{old} → {states[1][name]}"
        for name, old in states[0].items()
        if old != states[1][name]
    }


async def _note_proof(before: User, user: User) -> None:
    """What follows when an e-mail is verified, unless it was before."""
    if before.email_verified:
        return
    await _record_own(AuditAction.EMAIL_VERIFIED, user)
    if not before.welcomed:
        await _send_welcome(user)


async def _send_welcome(user: User) -> None:
    kind = MailKind.WELCOME
    await mails.queue(Mail(key=f"{kind}:{user.id}", kind=kind, user_id=user.id))


async def _send_verification(user: User) -> None:
    kind = MailKind.EMAIL_VERIFICATION
    await mails.queue(
        Mail(
            key=_key(
                kind,
                user.id,
                tokens.hash_secret(users.email_key(user.email)),
            ),
            kind=kind,
            user_id=user.id,
        )
    )


def _key(kind: MailKind, *about: str) -> str:
    """The key of a mail that is sent once in some minutes."""
    window = int(utc_now().timestamp()) // _PAUSE_SECONDS
    return ":".join((kind, *about, str(window)))


async def _record_own(action: AuditAction, user: User) -> None:
    """Writes down what a member did to their own account."""
    await audit.record(action, actor_id=user.id, target_id=user.id)


async def _tell_logins(user: User) -> None:
    """Makes a member's logins and API keys agree with the member.

    Of two racing changes, the one that writes the logins last reads the member
    after that: it finds what the other one wrote, and writes that.
    """
    while True:
        if user.disabled:
            await logins.revoke_logins_of(user.id)
        await logins.change_standing_of(
            user.id, role=user.role, tier=user.tier
        )
        await api_keys.change_standing_of(
            user.id, role=user.role, tier=user.tier, disabled=user.disabled
        )
        now = await users.get_user(user.id)
        if (now.role, now.tier, now.disabled) == (
            user.role,
            user.tier,
            user.disabled,
        ):
            return
        user = now
