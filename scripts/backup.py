"""Writes a whole community into one compressed file.

    python -m scripts.backup muster-2026-11-26.gz

Whatever the service writes meanwhile may be in it or not; that is said.
"""

import argparse
import sys
from pathlib import Path

from config import dumps
from scripts.common import run
from scripts.copies import REST, database, say


def main() -> None:
    """The command."""
    run(_back_up(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.backup",
        description="Writes a community into a file, for its owner only.",
    )
    parser.add_argument("file", type=Path, help="is not there yet")
    return parser.parse_args()


async def _back_up(arguments: argparse.Namespace) -> None:
    async with database(None, None) as (source, label):
        written = await dumps.write(source, arguments.file, say=say)
        say(f"all of {label} is in {arguments.file}")
        if written:
            names = ", ".join(written)
            print(
                f"muster: written meanwhile: {names}: what belongs together "
                "may be of two moments",
                file=sys.stderr,
            )
    print(REST, file=sys.stderr)


if __name__ == "__main__":
    main()
