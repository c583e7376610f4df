"""What scripts share: one line for each fault that an operator can mend."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from pydantic import ValidationError

from config import db
from models.exceptions import MusterError


class ScriptError(Exception):
    """A script can't do what it was asked; the message is one line."""


def run(work: Coroutine[Any, Any, None]) -> None:
    """Runs a script, or ends the process with one line on stderr."""
    try:
        asyncio.run(work)
    except (ScriptError, db.DatabaseStartError) as error:
        sys.exit(f"muster: {error}")
    except ValidationError as error:
        sys.exit(f"muster: {_faults(error)}")
    except MusterError as error:
        # Errors name the place in a request's body, which is no place here.
        sys.exit(f"muster: {str(error).removeprefix('body.')}")
    except db.UNAVAILABLE_ERRORS:
        sys.exit("muster: the database went away: run this again")
    except KeyboardInterrupt:
        sys.exit("muster: interrupted: run this again for the rest")


def _faults(error: ValidationError) -> str:
    faults = []
    for fault in error.errors(include_input=False, include_url=False):
        message = fault["msg"].removeprefix("Value error, ")
        name = " ".join(str(part) for part in fault["loc"])
        faults.append(f"{name}: {message}" if name else message)
    return "; ".join(faults)
