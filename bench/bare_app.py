"""The yardstick: FastAPI and one PyMongo read a request, nothing else.

Written as FastAPI's own tutorial would: a declared response model, a read, the
model back. It reads documents that hold just what Muster shows, so that
nothing has to be computed.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from jose import JWTError, jwt
from pydantic import Field
from pymongo import AsyncMongoClient, IndexModel

from models.base import Page, utc_now
from models.events import EventFound, EventRead

BARE_COLLECTION: Final = "bare"
BARE_INDEXES: Final = [IndexModel([("point", "2dsphere")])]

_KEY: Final = os.environ["JWT_SECRET_KEY"]
_BEARER: Final = OAuth2PasswordBearer(tokenUrl="/login")


class BareEvent(EventRead):
    """The same fields as Muster shows."""

    id: str = Field(validation_alias="_id")


class BareFound(EventFound):
    """The same fields as Muster's lists show."""

    id: str = Field(validation_alias="_id")


@asynccontextmanager
async def _lifespan(bare: FastAPI) -> AsyncIterator[None]:
    async with AsyncMongoClient[dict[str, Any]](
        os.environ["MONGO_DB_URI"], tz_aware=True
    ) as client:
        database = client[os.environ["MONGO_DB_NAME"]]
        bare.state.events = database[BARE_COLLECTION]
        yield


app = FastAPI(lifespan=_lifespan)


@app.get("/v1/events/{event_id}")
async def get_event(event_id: str) -> BareEvent:
    """One read by `_id`."""
    document = await app.state.events.find_one({"_id": event_id})
    if document is None:
        raise HTTPException(404)
    return BareEvent.model_validate(document)


def user_of(token: str) -> str:
    """Whose token it is."""
    try:
        claims = jwt.decode(
            token, _KEY, algorithms=["HS256"], audience="muster-api"
        )
    except JWTError as error:
        raise HTTPException(401) from error
    return str(claims["sub"])


async def user_id(token: Annotated[str, Depends(_BEARER)]) -> str:
    """Who calls."""
    return user_of(token)


@app.get("/v1/signed-in/{event_id}")
async def get_event_signed_in(
    event_id: str, _user: Annotated[str, Depends(user_id)]
) -> BareEvent:
    """A token is checked, then one read by `_id`."""
    return await get_event(event_id)


@app.get("/v1/events")
async def list_events(
    near: str, limit: int = 20, radius_km: float = 25
) -> Page[BareFound]:
    """One plain `$geoNear`."""
    latitude, longitude = map(float, near.split(","))
    point = {"type": "Point", "coordinates": [longitude, latitude]}
    found = await app.state.events.aggregate(
        [
            {
                "$geoNear": {
                    "near": point,
                    "distanceField": "distance_km",
                    "distanceMultiplier": 0.001,
                    "maxDistance": radius_km * 1000,
                    "query": {"public": True, "ends_at": {"$gt": utc_now()}},
                }
            },
            {"$limit": limit},
        ]
    )
    items = [BareFound.model_validate(document) async for document in found]
    return Page(items=items, next_cursor=None)
