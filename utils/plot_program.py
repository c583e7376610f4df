"""Plot program: draws one kept result.

Owns no collection. May call: plots, process_registry. `python -m
utils.plot_program NAME TITLE` takes the payload from stdin, a file, and writes
a PNG to stdout; it ends with NOTHING_TO_DRAW and a reason on stderr otherwise.
"""

import os
import resource
import sys
from typing import Final

from models.payloads import Payload
from utils import plots, process_registry

# The list of fonts, which is made once, takes some of the time.
_SECONDS: Final = 20
_MEMORY_BYTES: Final = 4 * 1024**3


def main() -> int:
    """Draws; returns the exit status."""
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    name, title = sys.argv[1:]
    process = process_registry.get_process(name)
    if process is None:
        return _nothing(f"there is no process {name} any more")
    try:
        with os.fdopen(0, "rb") as file:
            result = process.load_result(Payload.read_from(file))
            picture = plots.draw(result, title=title)
    except plots.NoPlotError as error:
        return _nothing(str(error))
    except MemoryError:
        return _nothing("it is too large to draw")
    sys.stdout.buffer.write(picture)
    return 0


def _nothing(reason: str) -> int:
    print(reason, file=sys.stderr)
    return plots.NOTHING_TO_DRAW


if __name__ == "__main__":
    sys.exit(main())
