"""The floor: FastAPI and PyMongo's asynchronous client, nothing else.

`bench/bare_app.py` with what is measured here besides: a list and a create,
each of them one command, behind its check of a token.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI

from bench.bare_app import BareEvent, BareFound, get_event, user_id
from bench.bare_app import app as reading
from bench.peers.payloads import COMING_INDEX, published
from models.base import Page, utc_now
from models.events import EventCreate, EventRead

_UserId = Annotated[str, Depends(user_id)]


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with reading.router.lifespan_context(reading):
        await reading.state.events.create_index(COMING_INDEX)
        yield


app = FastAPI(lifespan=_lifespan)


@app.get("/v1/events/{event_id}")
async def read_event(event_id: str, _user: _UserId) -> BareEvent:
    """One read by `_id`."""
    return await get_event(event_id)


@app.get("/v1/events")
async def list_events(_user: _UserId, limit: int = 20) -> Page[BareFound]:
    """The next events by their start."""
    found = reading.state.events.find(
        {"public": True, "ends_at": {"$gt": utc_now()}},
        sort=[("starts_at", 1)],
        limit=limit,
    )
    items = [BareFound.model_validate(document) async for document in found]
    return Page(items=items, next_cursor=None)


@app.post("/v1/events", status_code=201)
async def create_event(body: EventCreate, user: _UserId) -> EventRead:
    """One insert."""
    event = published(body, user)
    document = event.model_dump()
    document["_id"] = document.pop("id")
    await reading.state.events.insert_one(document)
    return event
