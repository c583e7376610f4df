"""Indexes: what is told apart, and how a changed one takes over."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo import ASCENDING, AsyncMongoClient, IndexModel

from config import changes, db, indexes
from config.changes import ChangeRefusedError, Database
from utils.collections import declared_indexes

THINGS = "things"


@pytest.fixture(name="store")
async def _store() -> AsyncIterator[Database]:
    uri = os.environ["MONGO_DB_URI"]
    async with AsyncMongoClient[dict[str, Any]](uri, tz_aware=True) as client:
        name = db.new_test_database_name()
        try:
            yield client[name]
        finally:
            await client.drop_database(name)


async def _bring(store: Database, *models: IndexModel) -> list[str]:
    """Makes the indexes be `models`; what was done, in words."""
    done = []
    for change in await indexes.differences(store, {THINGS: models}):
        await changes.apply(store, change)
        done.append(str(change))
    assert not await indexes.differences(store, {THINGS: models})
    return done


async def _there(store: Database) -> dict[str, Any]:
    return dict(await store[THINGS].index_information())


class TestDifferences:
    async def test_created_then_nothing(self, store: Database) -> None:
        once = IndexModel("a", unique=True)
        assert await _bring(store, once) == ["things: create a_1 (unique)"]
        assert await _bring(store, once) == []

    async def test_a_changed_one_stands_before_the_old_one_goes(
        self, store: Database
    ) -> None:
        await _bring(store, IndexModel("a"))
        model = IndexModel("a", unique=True)
        (change,) = await indexes.differences(store, {THINGS: [model]})
        assert str(change) == "things: replace a_1 by a_1_2 (unique)"
        assert [next(iter(each)) for each in change.commands] == [
            "createIndexes",
            "dropIndexes",
        ]
        # Killed in between, whoever comes next does the rest.
        await store.command(change.commands[0])
        assert set(await _there(store)) == {"_id_", "a_1", "a_1_2"}
        assert await _bring(store, model) == ["things: drop a_1"]
        assert (await _there(store))["a_1_2"]["unique"]

    async def test_back_again(self, store: Database) -> None:
        for unique in (False, True, False):
            await _bring(store, IndexModel("a", unique=unique))
        assert set(await _there(store)) == {"_id_", "a_1"}

    async def test_a_new_end_of_documents(self, store: Database) -> None:
        for seconds in (None, 0, 60, 0):
            model = (
                IndexModel("a")
                if seconds is None
                else IndexModel("a", expireAfterSeconds=seconds)
            )
            await _bring(store, model)
            found = (await _there(store))["a_1"]
            assert found.get("expireAfterSeconds") == seconds

    async def test_no_end_of_documents_any_more(self, store: Database) -> None:
        await _bring(store, IndexModel("a", expireAfterSeconds=60))
        model = IndexModel("a")
        (change,) = await indexes.differences(store, {THINGS: [model]})
        # One with the key stands at any time, but for the moment of a name.
        standing = {"a_1"}
        for command in change.commands:
            await store.command(command)
            standing = set(await _there(store)) - {"_id_"}
            assert standing
        assert standing == {"a_1"}
        assert not await indexes.differences(store, {THINGS: [model]})

    async def test_operators_own_stays(self, store: Database) -> None:
        await _bring(store, IndexModel("a"))
        await store[THINGS].create_index("b", name="own_b")
        await store[THINGS].create_index("c")
        assert await _bring(store, IndexModel("a")) == ["things: drop c_1"]
        assert set(await _there(store)) == {"_id_", "a_1", "own_b"}

    async def test_the_same_by_another_name(self, store: Database) -> None:
        await store[THINGS].create_index("a", name="first")
        assert not await indexes.differences(
            store, {THINGS: [IndexModel([("a", ASCENDING)])]}
        )

    def test_as_mongodb_lists_them(self) -> None:
        """Its answers hold more than what is declared, and other numbers."""
        answer = [
            {"v": 2, "key": {"_id": 1}, "name": "_id_"},
            {
                "v": 2,
                "key": {"at": "2dsphere", "to": 1.0},
                "name": "x",
                "2dsphereIndexVersion": 3,
                "background": True,
                "unique": False,
            },
        ]
        declared = IndexModel([("at", "2dsphere"), ("to", 1)]).document
        assert not indexes.differences_of(
            THINGS, there=answer, declared=[declared]
        )

    def test_no_option_is_overlooked(self) -> None:
        known = {"key", "name", *indexes.OPTIONS}
        for models in declared_indexes().values():
            for model in models:
                assert set(model.document) <= known


class TestRefusals:
    async def test_two_documents_with_one_key(self, store: Database) -> None:
        await store[THINGS].insert_one({"mail": "ada@x.org"})
        await store[THINGS].insert_one({"mail": "ada@x.org"})
        model = IndexModel("mail", unique=True)
        (change,) = await indexes.differences(store, {THINGS: [model]})
        with pytest.raises(ChangeRefusedError) as refused:
            await changes.apply(store, change)
        assert str(refused.value) == (
            "things: create mail_1 (unique): some documents have the same "
            "key: while they do, none can be unique"
        )

    async def test_the_old_one_stands_where_the_new_one_can_not(
        self, store: Database
    ) -> None:
        await _bring(store, IndexModel("a"))
        await store[THINGS].insert_many([{"a": 1}, {"a": 1}])
        model = IndexModel("a", unique=True)
        (change,) = await indexes.differences(store, {THINGS: [model]})
        with pytest.raises(ChangeRefusedError):
            await changes.apply(store, change)
        assert set(await _there(store)) == {"_id_", "a_1"}


class TestStart:
    async def test_leaves_a_changed_one_as_it_is(
        self, store: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        await store[THINGS].create_index("a", expireAfterSeconds=5, name="a_1")
        await store[THINGS].create_index("b", name="c_1")
        wanted = [
            IndexModel("a", expireAfterSeconds=7),
            IndexModel("c"),
            IndexModel("d"),
        ]
        await indexes.create_missing(store, {THINGS: wanted})
        assert set(await _there(store)) == {"_id_", "a_1", "c_1", "d_1"}
        said = "replace c_1 by c_1_2: run python -m scripts.migrate --apply"
        assert said in caplog.text

    async def test_refuses_where_something_could_be_there_twice(
        self, store: Database
    ) -> None:
        await store[THINGS].create_index("a")
        model = IndexModel("a", unique=True)
        with pytest.raises(ChangeRefusedError, match="scripts.migrate --apply"):
            await indexes.create_missing(store, {THINGS: [model]})

    async def test_says_in_one_line_what_is_there_twice(
        self, store: Database
    ) -> None:
        await store[THINGS].insert_many([{"mail": "a@x"}, {"mail": "a@x"}])
        model = IndexModel("mail", unique=True)
        with pytest.raises(ChangeRefusedError, match="the same key") as refused:
            await indexes.create_missing(store, {THINGS: [model]})
        assert "a@x" not in str(refused.value)
