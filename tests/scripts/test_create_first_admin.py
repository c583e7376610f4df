"""The first admin, made as an operator does it."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.database import Database

from tests.scripts.commands import (
    Result,
    assert_one_line,
    at_terminal,
    fresh_database,
    run,
)

PASSWORD = "a long enough one"

Store = Database[dict[str, Any]]


@pytest.fixture(name="store")
def fixture_store() -> Iterator[Store]:
    with fresh_database() as store:
        yield store


def create(store: Store, *more: str, stdin: str = PASSWORD) -> Result:
    """Runs the script for Ada."""
    return run(
        "create_first_admin",
        *("--email", "ada@example.org", "--password-stdin", *more),
        database=store.name,
        stdin=stdin,
    )


class TestCreateFirstAdmin:
    def test_nobody_is_there_yet(self, store: Store) -> None:
        result = create(store, "--first-name", "Ada", "--last-name", "Byron")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == "muster: created the admin ada@example.org\n"
        (user,) = store["users"].find()
        assert user["role"] == "admin"
        assert (user["first_name"], user["last_name"]) == ("Ada", "Byron")
        assert PASSWORD not in str(user)
        (entry,) = store["audit"].find()
        assert entry["action"] == "member.registered"
        assert (entry["actor_id"], entry["target_id"]) == (None, user["_id"])
        assert entry["facts"] == {"role": "admin"}
        assert "email_key_1" in store["users"].index_information()

    def test_again(self, store: Store) -> None:
        create(store)
        before = list(store["users"].find())
        result = create(store, stdin="")
        assert result.returncode == 0
        assert result.stdout == "muster: ada@example.org is an admin already\n"
        assert list(store["users"].find()) == before

    def test_existing_member_needs_no_password(self, store: Store) -> None:
        create(store)
        store["users"].update_one({}, {"$set": {"role": "member"}})
        (before,) = store["users"].find()
        result = run(
            "create_first_admin",
            *("--email", "ADA@example.org"),
            database=store.name,
        )
        assert result.returncode == 0, result
        assert (
            result.stdout
            == "muster: made the member ada@example.org an admin\n"
        )
        (after,) = store["users"].find()
        assert after["role"] == "admin"
        assert after["password_hash"] == before["password_hash"]

    def test_disabled(self, store: Store) -> None:
        create(store)
        store["users"].update_one({}, {"$set": {"disabled": True}})
        assert_one_line(create(store), "disabled")

    @pytest.mark.parametrize(
        ("password", "word"),
        [("short", "10"), ("1234567890", "commonest"), ("", "10")],
    )
    def test_weak_password(
        self, store: Store, password: str, word: str
    ) -> None:
        assert_one_line(create(store, stdin=password), "password", word)
        assert store["users"].count_documents({}) == 0

    def test_no_terminal_to_ask_at(self, store: Store) -> None:
        result = run(
            "create_first_admin",
            *("--email", "ada@example.org"),
            database=store.name,
        )
        assert_one_line(result, "--password-stdin")

    def test_asks_twice(self, store: Store) -> None:
        arguments = ("create_first_admin", "--email", "ada@example.org")
        said = at_terminal(*arguments, database=store.name, typed=["a", "b"])
        assert said.endswith(
            "muster: the two passwords differ: nothing was done"
        )
        said = at_terminal(
            *arguments, database=store.name, typed=[PASSWORD, PASSWORD]
        )
        assert said.endswith("muster: created the admin ada@example.org")
        assert PASSWORD not in said

    def test_bad_email(self, store: Store) -> None:
        result = create(store, "--email", "ada")
        assert_one_line(result, "email")

    def test_database_away(self, store: Store) -> None:
        result = run(
            "create_first_admin",
            *("--email", "ada@example.org"),
            database=store.name,
            settings={"MONGO_DB_URI": "mongodb://u:hidden@127.0.0.1:1/"},
        )
        assert_one_line(result, "127.0.0.1:1", "MONGO_DB_URI")
        assert "hidden" not in result.stderr

    def test_bad_settings(self, store: Store) -> None:
        result = run(
            "create_first_admin",
            *("--email", "ada@example.org"),
            database=store.name,
            settings={"ENVIRONMENT": "production", "JWT_SECRET_KEY": ""},
        )
        assert_one_line(result, "JWT_SECRET_KEY")
