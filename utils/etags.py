"""ETags: whether a change is meant for the present state.

Owns no collection. May call: nobody.
"""

from collections.abc import Collection

from pydantic import BaseModel

from config.etags import etag_of
from models.exceptions import StaleError


def require(shown: BaseModel, if_match: Collection[str]) -> None:
    """Checks that If-Match, where it is sent, names what is shown at present.

    Raises:
        StaleError: it names other states only.
    """
    if not if_match or "*" in if_match:
        return
    if etag_of(shown.model_dump_json().encode()) not in if_match:
        raise StaleError()
