"""Accounts: what concerns a member and their logins together.

Owns no collection. May call: attempts, audit, logins, users. Each use case
writes the member first and the logins then; repeating it after a crash in
between does what was left.
"""

from collections.abc import Collection

from config import transactions
from models.audit import AuditAction
from models.exceptions import BadCredentialsError, ForbiddenError
from models.logins import Actor, TokenPair
from models.users import Role, User, UserAdminUpdate, UserUpdate
from utils import attempts, audit, logins, users


async def log_in(
    email: str, password: str, *, address: str, client: str
) -> TokenPair:
    """Signs a member in by e-mail and password.

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
    return await logins.create_login(user, client=client)


async def update_own(
    change: UserUpdate, *, actor: Actor, if_match: Collection[str]
) -> User:
    """Changes the caller's account; a new password ends all other logins.

    Raises:
        ForbiddenError: current_password is wrong.
        TooManyAttemptsError: it was wrong too often.
        EmailTakenError: the new e-mail has an account.
        StaleError: the account is in another state than `if_match` says.
        InvalidRequestError: the new password is one of the commonest.
    """
    confirmed: User | None = None
    if change.current_password is not None:
        # A stolen access token is no licence to guess the password.
        attempt = await attempts.begin(actor.user_id, source=actor.login_id)
        confirmed = await users.confirm_password(
            actor.user_id, change.current_password
        )
        await attempts.succeed(attempt)
    user = await users.update_user(
        actor.user_id, change, confirmed=confirmed, if_match=if_match
    )
    if "password" in change.model_fields_set:
        await logins.revoke_logins_of(user.id, but=actor.login_id)
    return user


async def administer(
    user_id: str,
    change: UserAdminUpdate,
    *,
    actor: Actor,
    if_match: Collection[str],
) -> User:
    """Changes a member's role, or disables the account and its logins.

    Raises:
        UserNotFoundError: there is none.
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
    return user


def _difference(before: User, after: User) -> dict[str, str]:
    """What an admin changed of a member, by field."""
    states = [
        {"role": user.role.value, "disabled": str(user.disabled).lower()}
        for user in (before, after)
    ]
    return {
        name: f"{old} → {states[1][name]}"
        for name, old in states[0].items()
        if old != states[1][name]
    }


async def _tell_logins(user: User) -> None:
    """Makes a member's logins agree with the member.

    Of two racing changes, the one that writes the logins last reads the member
    after that: it finds what the other one wrote, and writes that.
    """
    while True:
        if user.disabled:
            await logins.revoke_logins_of(user.id)
        await logins.change_role_of(user.id, user.role)
        now = await users.get_user(user.id)
        if (now.role, now.disabled) == (user.role, user.disabled):
            return
        user = now
