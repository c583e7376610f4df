"""ETags: the names of answers, and the headers that list them."""

import hashlib
import re
from collections.abc import Collection
from typing import Final

_ETAG: Final = re.compile(r'(?:W/)?("[^"]*")')


def etag_of(body: bytes) -> str:
    """The ETag of an answer with this body."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def etags_in(header: str) -> Collection[str]:
    """The tags of an If-Match or If-None-Match header, or `*` alone.

    Weak tags count as strong ones: a proxy that compresses weakens ours.
    """
    return ["*"] if header.strip() == "*" else _ETAG.findall(header)
