"""Runs scripts as an operator does: as processes, on a fresh database."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from config import db

Result = subprocess.CompletedProcess[str]

_TIMEOUT_SECONDS = 60


def run(
    script: str,
    *arguments: str,
    database: str,
    stdin: str = "",
    settings: Mapping[str, str] | None = None,
) -> Result:
    """Runs `python -m scripts.<script>` on a database of the tests' server."""
    return subprocess.run(
        [sys.executable, "-m", f"scripts.{script}", *arguments],
        env=_environment(database) | dict(settings or {}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
        # Else getpass would ask whoever runs the tests.
        start_new_session=True,
    )


def at_terminal(
    script: str, *arguments: str, database: str, typed: Sequence[str]
) -> str:
    """What a script says to somebody who types one answer a question."""
    answers = list(typed)
    said = b""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", f"scripts.{script}", *arguments],
        env=_environment(database),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ):
        os.close(theirs)
        # Reading fails when the script has closed its end.
        with suppress(OSError):
            while some := os.read(ours, 1024):
                said += some
                if said.endswith(b": ") and answers:
                    os.write(ours, f"{answers.pop(0)}\n".encode())
        os.close(ours)
    return said.decode().strip()


def _environment(database: str) -> dict[str, str]:
    return {
        **os.environ,
        "MONGO_DB_URI": os.environ["MUSTER_TEST_DB_URI"],
        "MONGO_DB_NAME": database,
    }


@contextmanager
def fresh_database() -> Iterator[Database[dict[str, Any]]]:
    """A database of its own, dropped at the end."""
    client: MongoClient[dict[str, Any]]
    with MongoClient(os.environ["MUSTER_TEST_DB_URI"], tz_aware=True) as client:
        name = db.new_test_database_name()
        try:
            yield client[name]
        finally:
            client.drop_database(name)


def assert_one_line(result: Result, *words: str) -> None:
    """Checks that a script failed with one line on stderr that has `words`."""
    assert result.returncode == 1, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("muster: ")
    for word in words:
        assert word in line
