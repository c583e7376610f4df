"""The style that Muster replaces: `def` handlers and PyMongo that blocks.

One client for the whole module, as its tutorials have it; FastAPI runs each
handler, and each check of a token, in its pool of threads.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from pymongo import MongoClient

from bench.bare_app import BareEvent, BareFound, user_of
from bench.peers.payloads import COMING_INDEX, published
from models.base import Page, utc_now
from models.events import EventCreate, EventRead

_BEARER: Final = OAuth2PasswordBearer(tokenUrl="/login")

client = MongoClient[dict[str, Any]](
    # It connects when it is first needed, in a worker.
    os.environ["MONGO_DB_URI"],
    tz_aware=True,
    connect=False,
)
events = client[os.environ["MONGO_DB_NAME"]]["sync"]


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    events.create_index(COMING_INDEX)
    yield
    client.close()


app = FastAPI(lifespan=_lifespan)


def get_current_user(token: Annotated[str, Depends(_BEARER)]) -> str:
    """Who calls."""
    return user_of(token)


_User = Annotated[str, Depends(get_current_user)]


@app.get("/v1/events/{event_id}")
def read_event(event_id: str, _user: _User) -> BareEvent:
    """One read by `_id`."""
    document = events.find_one({"_id": event_id})
    if document is None:
        raise HTTPException(404)
    return BareEvent(**document)


@app.get("/v1/events")
def list_events(_user: _User, limit: int = 20) -> Page[BareFound]:
    """The next events by their start."""
    coming = {"public": True, "ends_at": {"$gt": utc_now()}}
    found = events.find(coming).sort("starts_at", 1).limit(limit)
    return Page(items=[BareFound(**one) for one in found], next_cursor=None)


@app.post("/v1/events", status_code=201)
def create_event(body: EventCreate, user: _User) -> EventRead:
    """One insert."""
    event = published(body, user)
    events.insert_one({"_id": event.id, **event.model_dump(exclude={"id"})})
    return event
