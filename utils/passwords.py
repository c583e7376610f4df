"""Passwords: hash, verify, refuse the commonest.

Owns no collection. May call: nobody.
"""

import asyncio
import runpy
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distribution
from typing import Final

from pwdlib.hashers.argon2 import Argon2Hasher

# Argon2id with 19 MiB and two passes, as the OWASP Password Storage Cheat
# Sheet recommends: 24 ms of one core.
_HASHER: Final = Argon2Hasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

# More hashes at once than cores only make each of them slower. Threads of their
# own leave the default ones to everybody else, and each thread that ever hashed
# keeps its 19 MiB: to give them back would cost a hash another half.
_THREADS: Final = ThreadPoolExecutor(2, "passwords")

# What an unknown e-mail's password is compared with, so that it costs the same.
_NOBODYS_HASH: Final = _HASHER.hash("nobody has this password")


def _read_common() -> str:
    """The 30 000 passwords that attackers try first, each on a line.

    Of the package that has them, only the file with its lists is run, and only
    this one is kept: the whole took 14 MB.
    """
    file = distribution("zxcvbn").locate_file("zxcvbn/frequency_lists.py")
    words = runpy.run_path(str(file))["FREQUENCY_LISTS"]["passwords"]
    return "\n".join(["", *words, ""])


_COMMON: Final = _read_common()


def is_common(password: str) -> bool:
    """True when `password` is one of the 30 000 that attackers try first.

    To look takes 0.2 ms at the most, beside a hash's 24.
    """
    return "\n" not in password and f"\n{password.casefold()}\n" in _COMMON


async def hash_password(password: str) -> str:
    """The Argon2id hash of `password`, computed off the event loop."""
    return await asyncio.get_running_loop().run_in_executor(
        _THREADS, _HASHER.hash, _typed(password)
    )


async def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether `password` belongs to `password_hash`.

    None stands for an account that does not exist: it is never verified, and
    takes as long as a wrong password.
    """
    verified = await asyncio.get_running_loop().run_in_executor(
        _THREADS,
        _HASHER.verify,
        _typed(password),
        password_hash or _NOBODYS_HASH,
    )
    return verified and password_hash is not None


def _typed(password: str) -> str:
    """One form of what keyboards send in several (NIST SP 800-63B, 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
