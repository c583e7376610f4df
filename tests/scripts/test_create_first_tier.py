"""The first tier, made as an operator does it."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.database import Database

from tests.scripts.commands import assert_one_line, fresh_database, run

Store = Database[dict[str, Any]]


@pytest.fixture(name="store")
def fixture_store() -> Iterator[Store]:
    with fresh_database() as store:
        yield store


class TestCreateFirstTier:
    def test_none_is_there_yet(self, store: Store) -> None:
        result = run("create_first_tier", "gold", database=store.name)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == "muster: created the tier gold\n"
        (tier,) = store["tiers"].find()
        assert (tier["name"], tier["limits"]) == ("gold", [])
        (entry,) = store["audit"].find()
        assert entry["action"] == "tier.created"
        assert (entry["actor_id"], entry["target_id"]) == (None, tier["_id"])

    def test_again(self, store: Store) -> None:
        run("create_first_tier", "gold", database=store.name)
        before = list(store["tiers"].find())
        result = run("create_first_tier", "gold", database=store.name)
        assert result.returncode == 0
        assert result.stdout == "muster: there is a tier gold already\n"
        assert list(store["tiers"].find()) == before
        assert store["audit"].count_documents({}) == 1

    def test_bad_name(self, store: Store) -> None:
        result = run("create_first_tier", "Gold!", database=store.name)
        assert_one_line(result, "name")
        assert store["tiers"].count_documents({}) == 0

    def test_database_away(self, store: Store) -> None:
        result = run(
            "create_first_tier",
            "gold",
            database=store.name,
            settings={"MONGO_DB_URI": "mongodb://u:hidden@127.0.0.1:1/"},
        )
        assert_one_line(result, "127.0.0.1:1", "MONGO_DB_URI")
        assert "hidden" not in result.stderr
