"""Firebase: sign members in whom it has seen.

Owns no collection. May call: accounts, attempts, audit, id_tokens, logins,
tokens, users.
"""

from contextlib import suppress
from typing import Final

from pydantic import SecretStr, TypeAdapter, ValidationError

from config import transactions
from config.firebase import Firebase
from models.audit import AuditAction
from models.base import drop_invisible, utc_now
from models.exceptions import BadCredentialsError, EmailTakenError
from models.firebase import Identity
from models.logins import TokenPair
from models.users import PersonName, User, UserCreate
from utils import accounts, attempts, audit, id_tokens, logins, tokens, users

_NAME: Final[TypeAdapter[str]] = TypeAdapter(PersonName)
_LONGEST_NAME: Final = 64
_NAMELESS: Final = "Member"

# Whoever loses a race finds what the winner made at the next try.
_TRIES: Final = 3
_TAKEN: Final = (
    "An account with this e-mail exists, and it is not certain that it is "
    "yours: reset its password at POST /v1/auth/password-reset/request, verify "
    "the e-mail at Firebase too, and sign in again."
)


async def sign_in(
    id_token: str, *, firebase: Firebase, address: str, client: str
) -> TokenPair:
    """Signs in whom an ID token names; at the first time, as a new member.

    Raises:
        NotFoundError: nobody signs in so here.
        BadCredentialsError: the token proves nothing, or the account is
            disabled.
        TooManyAttemptsError: too many tokens of this address proved nothing.
        KeysUnavailableError: at present nobody can say what it proves.
        InvalidRequestError: it names no e-mail.
        EmailTakenError: the e-mail has an account that may be another's.
    """
    try:
        identity = await id_tokens.verify(id_token, firebase=firebase)
        user = await _member_of(identity)
        if user.disabled:
            raise BadCredentialsError("This account is disabled.")
    except BadCredentialsError:
        # Nobody can guess one: only those that fail are counted, so that
        # nobody at this address is locked out.
        await attempts.begin(f"id token {address}", source=address)
        await audit.record(
            AuditAction.LOGIN_FAILED, actor_id=None, target_id=None
        )
        raise
    return await logins.create_login(user, client=client)


async def _member_of(identity: Identity) -> User:
    """The member whom Firebase knows by this id, old or new.

    Raises:
        EmailTakenError: the e-mail has an account that may be another's.
    """
    for _ in range(_TRIES):
        user = await users.find_user_by_firebase(identity.firebase_id)
        if user is not None:
            return user
        user = await users.find_user_by_email(identity.email)
        # Both sides must be proven: else whoever was first to name another's
        # e-mail, here or there, would come into that one's account.
        proven = identity.email_verified and user and user.email_verified
        if user is not None and not proven:
            break
        with suppress(EmailTakenError):
            if user is None:
                return await _register(identity)
            return await _link(user.id, identity)
    raise EmailTakenError(identity.email, _TAKEN)


async def _link(user_id: str, identity: Identity) -> User:
    async def work() -> User:
        user = await users.link_firebase(
            user_id, email=identity.email, firebase_id=identity.firebase_id
        )
        await audit.record(
            AuditAction.FIREBASE_LINKED, actor_id=user_id, target_id=user_id
        )
        return user

    return await transactions.run(work, turn=users.email_key(identity.email))


async def _register(identity: Identity) -> User:
    first_name, last_name = _names_of(identity)
    user = await users.prepare_user(
        UserCreate(
            first_name=first_name,
            last_name=last_name,
            email=identity.email,
            # Nobody knows it; a reset sets one that somebody does.
            password=SecretStr(tokens.new_secret()),
        )
    )
    user.firebase_id = identity.firebase_id
    if identity.email_verified:
        user.email_verified_at = utc_now()
        user.welcomed = True
    return await accounts.admit(user)


def _names_of(identity: Identity) -> tuple[str, str]:
    """First and last name, by the token or else by the e-mail.

    Members change them as they like; a guess only has to be a name.
    """
    first, _, last = drop_invisible(identity.name).strip().partition(" ")
    guess = identity.email.partition("@")[0]
    return _name(first, guess, _NAMELESS), _name(last, _NAMELESS)


def _name(*guesses: str) -> str:
    for guess in guesses:
        try:
            return _NAME.validate_python(guess.strip()[:_LONGEST_NAME])
        except ValidationError:
            continue
    return _NAMELESS
