"""Fills an empty database with what `scripts.backup` wrote.

    python -m scripts.restore muster-2026-11-26.gz

The file is read to its end first: one that is not whole changes nothing.
"""

import argparse
import sys
from pathlib import Path

from config import dumps
from scripts.common import run
from scripts.copies import REST, database, say


def main() -> None:
    """The command."""
    run(_restore(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.restore",
        description="Fills an empty database from a backup.",
    )
    parser.add_argument("file", type=Path)
    return parser.parse_args()


async def _restore(arguments: argparse.Namespace) -> None:
    async with database(None, None) as (target, label):
        await dumps.restore(arguments.file, target, say=say)
        say(f"all of {arguments.file} is in {label}, compared by hashes")
    print(REST, file=sys.stderr)


if __name__ == "__main__":
    main()
