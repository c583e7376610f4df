"""Validators: what the models' schemas say, and what servers make of them."""

from enum import StrEnum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field
from pymongo.errors import WriteError

from config import changes, db, validators
from models.base import ExtendedBaseModel, UtcTime, utc_now
from utils.collections import declared_models

pytestmark = pytest.mark.usefixtures("services")


class Colour(StrEnum):
    RED = "red"


class Part(BaseModel):
    size: int


class Thing(ExtendedBaseModel):
    name: str
    part: Part | None
    colour: Colour = Colour.RED
    counts: dict[str, int] = {}
    parts: list[Part] = []
    price: float = Field(0, ge=0)
    since: UtcTime = Field(default_factory=utc_now)
    raw: bytes = b""
    said: Literal["yes", "no"] | bool = "yes"
    anything: Any = None


class TestSchema:
    def test_types_and_what_is_needed(self) -> None:
        assert validators.schema_of([Thing]) == {
            "bsonType": "object",
            "required": ["_id", "name", "part"],
            "properties": {
                "_id": {"bsonType": ["string"]},
                "name": {"bsonType": ["string"]},
                "part": {"bsonType": ["null", "object"]},
                "colour": {"bsonType": ["string"]},
                "counts": {"bsonType": ["object"]},
                "parts": {"bsonType": ["array"]},
                "price": {"bsonType": ["number"]},
                "since": {"bsonType": ["date"]},
                "raw": {"bsonType": ["binData"]},
                "said": {"bsonType": ["bool", "string"]},
            },
        }

    def test_one_of_several(self) -> None:
        (first, second) = validators.schema_of([Thing, Thing])["anyOf"]
        assert first == second == validators.schema_of([Thing])

    def test_every_owner_declares_what_is_in_its_collection(self) -> None:
        for name, models in declared_models().items():
            assert models, name
            for model in models:
                said = validators.schema_of([model])["properties"]
                # Nothing that Muster stores may be anything.
                assert len(said) == len(model.model_fields), (name, model)


class TestServer:
    async def test_refuses_what_does_not_fit(self) -> None:
        """And takes what has more fields, as of a newer release."""
        store = db.database()["things"]
        declared = {store.name: [Thing]}
        try:
            (change,) = await validators.differences(db.database(), declared)
            await changes.apply(db.database(), change)
            assert not await validators.differences(db.database(), declared)
            good = Thing(name="x", part=Part(size=1)).dict()
            await store.insert_one({**good, "later": [1]})
            for bad in ({"name": 1}, {"since": "now"}, {"raw": "x"}):
                with pytest.raises(WriteError) as caught:
                    await store.insert_one({**good, "_id": "2", **bad})
                assert not isinstance(caught.value, db.UNAVAILABLE_ERRORS)
            with pytest.raises(WriteError):
                await store.update_one({"name": "x"}, {"$unset": {"part": 1}})
        finally:
            await store.drop()

    async def test_what_did_not_fit_before_may_be_changed(self) -> None:
        store = db.database()["things"]
        try:
            await store.insert_one({"_id": 1, "since": "long ago"})
            for change in await validators.differences(
                db.database(), {store.name: [Thing]}
            ):
                await changes.apply(db.database(), change)
            await store.update_one({"_id": 1}, {"$set": {"more": 1}})
            assert await store.count_documents({"more": 1}) == 1
        finally:
            await store.drop()

    async def test_whether_a_server_knows_them_is_tried(self) -> None:
        assert await validators.are_understood(db.database())
        assert not await validators.are_understood(
            db.database(), {"$noSchema": {"bsonType": "object"}}
        )

    def test_way_and_schema_are_compared(self) -> None:
        """As `listCollections` of MongoDB answers."""
        options = {
            "validator": {"$jsonSchema": validators.schema_of([Thing])},
            "validationLevel": "moderate",
            "validationAction": "error",
        }
        declared = {"things": [Thing]}
        assert not validators.differences_of({"things": options}, declared)
        for other in ("validationLevel", "validationAction", "validator"):
            there = {"things": {**options, other: "off"}}
            assert validators.differences_of(there, declared)
        wanted = validators.differences_of({}, declared)
        assert [change.commands for change in wanted] == [
            ({"create": "things"}, {"collMod": "things", **options})
        ]
