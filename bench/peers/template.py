"""The template that people clone most, as small as its design allows.

FastAPI's full-stack template: SQLModel on PostgreSQL, a session for each
request, a token read by PyJWT and its user read from the database, items that
are created, read and listed. As its asynchronous forks have it, the driver is
asyncpg, and what is read is kept in Redis until it is changed, or for a minute.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Final

# In an environment of its own, see requirements.txt.
import jwt  # pylint: disable=import-error
from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel
from redis.asyncio import Redis
from sqlalchemy import DateTime  # pylint: disable=import-error
from sqlalchemy.dialects.postgresql import JSONB  # pylint: disable=import-error
from sqlalchemy.ext.asyncio import (  # pylint: disable=import-error
    create_async_engine,
)
from sqlmodel import (  # pylint: disable=import-error
    Field,
    SQLModel,
    col,
    select,
)
from sqlmodel.ext.asyncio.session import (  # pylint: disable=import-error
    AsyncSession,
)

from bench.peers.payloads import published
from models.base import Page, utc_now
from models.events import EventCreate, EventFound, EventRead

_KEY: Final = os.environ["JWT_SECRET_KEY"]
_BEARER: Final = OAuth2PasswordBearer(tokenUrl="/login/access-token")
_KEPT_SECONDS: Final = 60

# As many connections as there are clients: to open one takes milliseconds.
engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=20)
redis = Redis.from_url(os.environ["REDIS_URL"])


# mypy does not see SQLModel, which is installed elsewhere.


class User(SQLModel, table=True):  # type: ignore[call-arg]
    """Who may sign in."""

    id: str = Field(primary_key=True)
    email: str = Field(unique=True, index=True, max_length=255)
    full_name: str | None = Field(default=None, max_length=255)
    hashed_password: str
    is_active: bool = True
    is_superuser: bool = False


class Item(SQLModel, table=True):  # type: ignore[call-arg]
    """An event."""

    id: str = Field(primary_key=True)
    title: str = Field(max_length=255)
    description: str
    starts_at: datetime = Field(sa_type=DateTime(timezone=True), index=True)
    ends_at: datetime = Field(sa_type=DateTime(timezone=True))
    tags: list[str] = Field(sa_type=JSONB)
    location: dict[str, Any] | None = Field(sa_type=JSONB)
    online_url: str | None
    capacity: int
    public: bool
    links: list[str] = Field(sa_type=JSONB)
    image_ids: list[str] = Field(sa_type=JSONB)
    creator_id: str = Field(foreign_key="user.id", index=True)
    status: str
    approval: str
    denial_reason: str | None
    seats_taken: int
    waitlisted: int
    rating: dict[str, Any] = Field(sa_type=JSONB)
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(sa_type=DateTime(timezone=True))


async def get_session() -> AsyncIterator[AsyncSession]:
    """A session of the database for one request."""
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session


_Session = Annotated[AsyncSession, Depends(get_session)]


async def get_current_user(
    session: _Session, token: Annotated[str, Depends(_BEARER)]
) -> User:
    """Whose token it is, as the database knows them."""
    try:
        claims = jwt.decode(
            token, _KEY, algorithms=["HS256"], audience="muster-api"
        )
    except jwt.InvalidTokenError as error:
        raise HTTPException(403) from error
    user: User | None = await session.get(User, claims["sub"])
    if user is None:
        raise HTTPException(404)
    if not user.is_active:
        raise HTTPException(400)
    return user


_User = Annotated[User, Depends(get_current_user)]


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    async with AsyncSession(engine) as session:
        await session.merge(
            User(
                id=os.environ["FIRST_USER_ID"],
                email="ada@example.org",
                hashed_password="",
            )
        )
        await session.commit()
    yield
    await redis.aclose()
    await engine.dispose()


app = FastAPI(lifespan=_lifespan)


@app.get("/v1/events/{event_id}", response_model=EventRead)
async def read_item(event_id: str, session: _Session, _user: _User) -> Response:
    """What Redis has, or one read by the primary key."""
    key = f"item:{event_id}"
    kept = await redis.get(key)
    if kept is not None:
        return Response(kept, media_type="application/json")
    item = await session.get(Item, event_id)
    if item is None:
        raise HTTPException(404)
    return await _keep(key, EventRead.model_validate(item.model_dump()))


@app.get("/v1/events", response_model=Page[EventFound])
async def list_items(
    session: _Session, _user: _User, limit: int = 20
) -> Response:
    """What Redis has, or the next events by their start."""
    key = f"items:{limit}"
    kept = await redis.get(key)
    if kept is not None:
        return Response(kept, media_type="application/json")
    coming = (
        select(Item)
        .where(col(Item.public), col(Item.ends_at) > utc_now())
        .order_by(col(Item.starts_at))
        .limit(limit)
    )
    items = [
        EventFound.model_validate(item.model_dump())
        for item in await session.exec(coming)
    ]
    return await _keep(key, Page(items=items, next_cursor=None))


@app.post("/v1/events", status_code=201)
async def create_item(
    body: EventCreate, session: _Session, user: _User
) -> EventRead:
    """One insert, after which no list is true any more."""
    event = published(body, user.id)
    session.add(Item.model_validate(event.model_dump()))
    await session.commit()
    await redis.delete("items:20")
    return event


async def _keep(key: str, shown: BaseModel) -> Response:
    body = shown.model_dump_json()
    await redis.set(key, body, ex=_KEPT_SECONDS)
    return Response(body, media_type="application/json")
