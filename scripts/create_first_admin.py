"""Creates the first admin, or makes an existing member one.

python -m scripts.create_first_admin --email ada@example.org
"""

import argparse
import getpass
import sys
import warnings

from pydantic import EmailStr, SecretStr, TypeAdapter

from config.lifespan import services
from config.main import settings
from models.users import Role, UserCreate
from scripts.common import ScriptError, run
from utils import accounts, users
from utils.collections import declared_indexes

_EMAIL: TypeAdapter[EmailStr] = TypeAdapter(EmailStr)


def main() -> None:
    """The command."""
    run(_create(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.create_first_admin",
        description="Creates the first admin, or makes the member with this "
        "e-mail an admin, who keeps their password.",
    )
    parser.add_argument("--email", required=True)
    parser.add_argument("--first-name", default="Muster")
    parser.add_argument("--last-name", default="Admin")
    parser.add_argument(
        "--password-stdin",
        action="store_true",
        help="read the password from stdin instead of asking for it",
    )
    return parser.parse_args()


async def _create(arguments: argparse.Namespace) -> None:
    email = _EMAIL.validate_python(arguments.email)
    async with services(settings, declared_indexes()):
        user = await users.find_user_by_email(email)
        if user is None:
            # Waiting for the operator holds nobody up: nothing else runs here.
            new = UserCreate(
                first_name=arguments.first_name,
                last_name=arguments.last_name,
                email=email,
                password=_password(from_stdin=arguments.password_stdin),
            )
            user = await accounts.create_admin(new)
            print(f"muster: created the admin {user.email}")
        elif user.disabled:
            raise ScriptError(
                f"the account {user.email} is disabled: another admin must "
                "enable it first"
            )
        elif user.role is Role.ADMIN:
            print(f"muster: {user.email} is an admin already")
        else:
            await accounts.make_admin(user)
            print(f"muster: made the member {user.email} an admin")


def _password(*, from_stdin: bool) -> SecretStr:
    if from_stdin:
        try:
            return SecretStr(sys.stdin.readline().rstrip("\r\n"))
        except UnicodeDecodeError:
            raise ScriptError("the password is not UTF-8") from None
    with warnings.catch_warnings():
        # Rather than showing what is typed, getpass shall give up.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            password = getpass.getpass("Password: ")
            repeated = getpass.getpass("Once more: ")
        except (EOFError, getpass.GetPassWarning):
            raise ScriptError(
                "no terminal to ask for a password at: pass it with "
                "--password-stdin"
            ) from None
    if password != repeated:
        raise ScriptError("the two passwords differ: nothing was done")
    return SecretStr(password)


if __name__ == "__main__":
    main()
