"""Moves a community to another server: documents, indexes, files.

    python -m scripts.copy_database --to mongodb://…
    python -m scripts.copy_database --to mongodb://… --verify

The target is an empty database, or a copy that was begun before: killed, this
goes on where it was, and no service starts on it before it is whole. It fails
until both have the same documents, which they have when nothing writes the
source; what expires there meanwhile is not in the copy either. With `--verify`,
both are only compared.
"""

import argparse
import sys

from config import contents, copies
from config.changes import Database
from scripts.common import ScriptError, run
from scripts.copies import REST, database, say


def main() -> None:
    """The command."""
    run(_copy(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.copy_database",
        description="Copies a community into a database that is empty.",
    )
    parser.add_argument(
        "--to", required=True, metavar="URI", help="- reads it from stdin"
    )
    parser.add_argument(
        "--to-name", metavar="NAME", help="MONGO_DB_NAME if not given"
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="URI",
        help="the settings' if not given",
    )
    parser.add_argument("--from-name", metavar="NAME", help="the same")
    parser.add_argument(
        "--verify", action="store_true", help="only compare"
    )
    return parser.parse_args()


async def _copy(arguments: argparse.Namespace) -> None:
    async with (
        database(arguments.source, arguments.from_name) as (source, label),
        database(arguments.to, arguments.to_name) as (target, place),
    ):
        if label == place:
            raise ScriptError(f"{place} is the source itself")
        if arguments.verify:
            await _compare(source, target)
            return
        await copies.copy(source, target, label=label, say=say)
        say(f"all of {label} is in {place}, compared by counts and hashes")
    print(REST, file=sys.stderr)


async def _compare(source: Database, target: Database) -> None:
    mine = await contents.digests_of(source)
    wrong = contents.differing(mine, await contents.digests_of(target))
    if wrong:
        raise ScriptError(f"these differ: {', '.join(wrong)}")
    count = sum(digest.count for digest in mine.values())
    say(f"both hold the same {count} documents in {len(mine)} collections")


if __name__ == "__main__":
    main()
