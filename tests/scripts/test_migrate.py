"""Migrating, as an operator, a release and CI do it."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.database import Database

from models.base import utc_now
from scripts.migrate import known_migrations
from tests.scripts.commands import assert_one_line, fresh_database, run

Store = Database[dict[str, Any]]
_DIFFERS = "run python -m scripts.migrate --apply"


@pytest.fixture(name="store")
def fixture_store() -> Iterator[Store]:
    with fresh_database() as store:
        yield store


class TestMigrate:
    def test_check_apply_check(self, store: Store) -> None:
        store["users"].create_index("email_key")
        before = run("migrate", "--check", database=store.name)
        assert before.returncode == 1
        assert before.stderr.splitlines()[-1].endswith(_DIFFERS)
        lines = before.stdout.splitlines()
        replaced = "replace email_key_1 by email_key_1_2 (unique)"
        assert f"muster: users: {replaced}" in lines
        assert "muster: events: validate documents" in lines
        assert "muster: events: create revision_1 (unique)" in lines
        # It only looked.
        assert store.list_collection_names() == ["users"]

        applied = run("migrate", "--apply", database=store.name)
        assert (applied.returncode, applied.stderr) == (0, "")
        assert applied.stdout.splitlines() == [
            *(f"{line}: done" for line in lines),
            "muster: the database is what the code declares",
        ]
        indexes = store["users"].index_information()
        assert indexes["email_key_1_2"]["unique"]
        assert "email_key_1" not in indexes

        after = run("migrate", "--check", database=store.name)
        assert (after.returncode, after.stderr) == (0, "")
        assert after.stdout == applied.stdout.splitlines()[-1] + "\n"

    def test_two_documents_with_one_key(self, store: Store) -> None:
        """It is said, without the key; all the rest is done."""
        for revision in "12":
            twin = {"email_key": "ada@x.org", "revision": revision}
            store["users"].insert_one(twin)
        result = run("migrate", "--apply", database=store.name)
        assert result.returncode == 1
        fault, end = result.stderr.splitlines()
        assert fault.startswith("muster: users: create email_key_1 (unique): ")
        assert end == "muster: 1 of the changes could not be made, see above"
        assert "ada" not in result.stdout + result.stderr
        lines = result.stdout.splitlines()
        assert "muster: users: create role_1_created_at_1: done" in lines

    def test_of_a_newer_release(self, store: Store) -> None:
        """Its indexes, which this one does not know, stay."""
        store["users"].create_index("of_tomorrow")
        store["migrations"].insert_one(
            {"_id": "m9999_later", "holder": "x", "began_at": utc_now()}
        )
        result = run("migrate", "--apply", database=store.name)
        assert_one_line(result, "a newer release", "m9999_later")
        assert set(store.list_collection_names()) == {"users", "migrations"}
        assert "of_tomorrow_1" in store["users"].index_information()

    def test_files_are_numbered(self) -> None:
        names = [migration.name for migration in known_migrations()]
        assert [name[:6] for name in names] == [
            f"m{number:04}_" for number in range(1, len(names) + 1)
        ]
