"""ExtendedBaseModel, and the types that all models share."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from models.base import (
    ExtendedBaseModel,
    InputTime,
    ObjectId,
    UtcTime,
    new_id,
    utc_now,
)
from models.events import Event, EventRead
from models.logins import Login, LoginRead
from models.users import PrivateUser, PublicUser, User


class Thing(ExtendedBaseModel):
    """A model of these tests' own."""

    name: str
    made_at: UtcTime


class TestExtendedBaseModel:
    def test_id_is_set_on_creation(self) -> None:
        one, two = (Thing(name="x", made_at=utc_now()) for _ in range(2))
        assert UUID(one.get_id()).version == 4
        assert one.get_id() == one.id != two.id

    def test_dict_is_for_mongo(self) -> None:
        thing = Thing(name="x", made_at=utc_now())
        assert thing.dict() == {
            "_id": thing.id,
            "name": "x",
            "made_at": thing.made_at,
        }

    def test_from_document(self) -> None:
        thing = Thing(name="x", made_at=utc_now())
        assert Thing.from_document(thing.dict()) == thing
        assert Thing.from_document({**thing.dict(), "more": 1}) == thing

    def test_from_document_that_does_not_fit(self) -> None:
        with pytest.raises(ValidationError):
            Thing.from_document({"_id": new_id()})

    @pytest.mark.parametrize(
        "shown", [EventRead, LoginRead, PublicUser, PrivateUser]
    )
    def test_read_models_show_no_underscore_id(
        self, shown: type[BaseModel]
    ) -> None:
        assert not issubclass(shown, ExtendedBaseModel)
        for by_alias in (True, False):
            schema = shown.model_json_schema(by_alias=by_alias)
            assert "id" in schema["properties"]
            assert not any(n.startswith("_") for n in schema["properties"])
        for stored in (Event, Login, User):
            assert not issubclass(shown, stored)


class TestTimes:
    @given(st.datetimes(timezones=st.timezones()))
    def test_are_kept_to_the_millisecond(self, time: datetime) -> None:
        try:
            expected = time.astimezone(UTC)
        except OverflowError:
            return
        kept = TypeAdapter(UtcTime).validate_python(time)
        assert kept.tzinfo is UTC
        assert timedelta(0) <= expected - kept < timedelta(milliseconds=1)

    @pytest.mark.parametrize(
        "text",
        [
            "2031-05-01T18:30:00+02:00",
            "2031-05-01T18:30:00.123456789Z",
            "2031-05-01t18:30z",
            "2031-05-01 18:30:00-11:30",
        ],
    )
    def test_rfc_3339_is_read(self, text: str) -> None:
        assert TypeAdapter(InputTime).validate_python(text).tzinfo is UTC

    @pytest.mark.parametrize(
        "value",
        [
            "2031-05-01T18:30:00",
            "2031-05-01",
            "1900000000",
            1900000000,
            1.9e9,
            True,
            None,
            "2031-02-29T00:00:00Z",
            "2031-05-01T25:00:00Z",
            "9999-12-31T23:59:59-12:00",
            "tomorrow",
        ],
    )
    def test_other_things_are_not(self, value: object) -> None:
        with pytest.raises(ValidationError):
            TypeAdapter(InputTime).validate_python(value)


class TestObjectId:
    @given(st.uuids(version=4))
    def test_any_uuid4(self, uuid: UUID) -> None:
        assert TypeAdapter(ObjectId).validate_python(str(uuid)) == str(uuid)

    @given(st.uuids(version=1) | st.text())
    def test_nothing_else(self, value: object) -> None:
        with pytest.raises(ValidationError):
            TypeAdapter(ObjectId).validate_python(str(value))
