"""Creates the first admin, or makes an existing member one.

python -m scripts.create_first_admin --email ada@example.org
"""

import argparse
import getpass
import sys

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
            user = await users.create_user(new, role=Role.ADMIN)
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
    try:
        if from_stdin:
            return SecretStr(sys.stdin.readline().rstrip("\r\n"))
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise ScriptError("the two passwords differ: nothing was done")
    except (EOFError, UnicodeDecodeError):
        raise ScriptError("no password could be read") from None
    return SecretStr(password)


if __name__ == "__main__":
    main()
