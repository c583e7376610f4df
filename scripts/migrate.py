"""Shows how a database differs from what the code declares, or mends it.

    python -m scripts.migrate            shows what is to be done
    python -m scripts.migrate --check    the same; fails where there is any
    python -m scripts.migrate --apply    does it

Validators come first, then migrations, then indexes: what a migration writes
is what is declared now, and what it removes is no obstacle to a unique index.
A database that a newer release has migrated is left as it is.
"""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

from config import changes, db, indexes, validators
from config.changes import Change, ChangeRefusedError
from config.lifespan import services
from config.main import settings
from scripts import migrations as files
from scripts.common import ScriptError, run
from utils import migrations
from utils.collections import declared_indexes, declared_models
from utils.migrations import Migration, Standing, Step


def main() -> None:
    """The command."""
    run(_migrate(_arguments()))


def known_migrations() -> list[Migration]:
    """Those in `scripts/migrations`, in their order."""
    names = [found.name for found in pkgutil.iter_modules(files.__path__)]
    return [Migration(name, _step_of(name)) for name in sorted(names)]


def _step_of(name: str) -> Step:
    step: Step = importlib.import_module(f"{files.__name__}.{name}").step
    return step


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.migrate",
        description="Shows how the database differs from what the code "
        "declares.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--check", action="store_true", help="fail where it differs"
    )
    what.add_argument(
        "--apply", action="store_true", help="change what differs"
    )
    return parser.parse_args()


async def _migrate(arguments: argparse.Namespace) -> None:
    # Without indexes: a start makes those that are missing.
    async with services(settings, {}):
        if arguments.apply:
            try:
                await migrations.in_turn(_apply, wait=_say_that_it_waits)
            except db.OvertakenError:
                raise ScriptError(
                    "another migrate took over: this one hung for too long"
                ) from None
            return
        lines = [
            *await _validator_changes(),
            *_pending(await migrations.standing(known_migrations())),
            *await indexes.differences(db.database(), declared_indexes()),
        ]
        for line in lines:
            print(f"muster: {line}")
        if not lines:
            print("muster: the database is what the code declares")
        elif arguments.check:
            raise ScriptError(
                "the database differs from what the code declares: run "
                "python -m scripts.migrate --apply"
            )


async def _apply(holder: str) -> None:
    standing = await migrations.standing(known_migrations())
    if standing.unknown:
        raise ScriptError(
            "a newer release migrated this database "
            f"({', '.join(standing.unknown)}): run that release, or restore "
            "a backup from before; nothing was changed"
        )
    refused = await _make(await _validator_changes())
    async for record in migrations.migrate(standing.pending, holder=holder):
        print(f"muster: {record.id}: done, {record.batches} batches")
    refused += await _make(
        await indexes.differences(db.database(), declared_indexes())
    )
    if refused:
        raise ScriptError(
            f"{len(refused)} of the changes could not be made, see above"
        )
    print("muster: the database is what the code declares")


async def _make(wanted: Sequence[Change]) -> list[Change]:
    """Makes changes, and returns those that the database refuses."""
    refused = []
    for change in wanted:
        try:
            await changes.apply(db.database(), change)
            print(f"muster: {change}: done")
        except ChangeRefusedError as error:
            print(f"muster: {error}", file=sys.stderr)
            refused.append(change)
    return refused


async def _validator_changes() -> list[Change]:
    wanted = await validators.differences(db.database(), declared_models())
    if wanted and not await validators.are_understood(db.database()):
        print("muster: this server knows no $jsonSchema, and checks nothing")
        return []
    return wanted


def _pending(standing: Standing) -> list[str]:
    for name in standing.unknown:
        print(f"muster: {name} was done by a newer release", file=sys.stderr)
    return [f"{migration.name}: to be done" for migration in standing.pending]


def _say_that_it_waits() -> None:
    print("muster: another migrate is at work: this one goes on after it")


if __name__ == "__main__":
    main()
