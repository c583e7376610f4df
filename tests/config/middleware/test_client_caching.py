"""Client caching: nothing private is public, and Vary says on what it hangs."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.responses import Response
from starlette.types import ASGIApp

from config.middleware.client_caching import ClientCaching
from models.base import new_id
from tests import factories
from tests.contract import operations
from tests.stages import Header, ask, greet

_SHARED = "public, no-cache"
_OWN = "private, no-cache"
_IMMUTABLE = "public, max-age=31536000, immutable"
_CALLER = "Authorization, Cookie, X-API-Key"


def _stage(app: ASGIApp = greet, **more: bool) -> ClientCaching:
    options = {"everybody": True, "by_origin": False, **more}
    return ClientCaching(app, "X-API-Key", **options)


def _page(**headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response("hello", headers=named)


class TestCacheControl:
    async def test_what_anybody_gets(self) -> None:
        answer = await ask(_stage())
        assert answer.values("cache-control") == [_SHARED]
        assert answer.values("vary") == [_CALLER]

    @pytest.mark.parametrize(
        "header",
        [
            (b"authorization", b"Bearer x"),
            (b"x-api-key", b"mk_x"),
            (b"cookie", b"theme=dark"),
            (b"authorization", b""),
        ],
    )
    async def test_what_somebody_gets(self, header: Header) -> None:
        answer = await ask(_stage(), [header])
        assert answer.values("cache-control") == [_OWN]
        assert answer.values("vary") == [_CALLER]

    @pytest.mark.parametrize("status", [201, 401, 403, 404, 429, 500, 503])
    async def test_errors(self, status: int) -> None:
        answer = await ask(_stage(Response(status_code=status)))
        assert answer.values("cache-control") == ["no-store"]

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    async def test_changes(self, method: str) -> None:
        answer = await ask(_stage(), method=method)
        assert answer.values("cache-control") == ["no-store"]

    @pytest.mark.parametrize(
        "path", ["/v1/auth/logins", "/v1/api-keys", "/v1/users/me/export"]
    )
    async def test_secrets(self, path: str) -> None:
        answer = await ask(_stage(), path=path)
        assert answer.values("cache-control") == ["no-store"]

    async def test_a_cookie_is_for_one(self) -> None:
        answer = await ask(_stage(_page(set_cookie="a=b")))
        assert answer.values("cache-control") == [_OWN]

    async def test_an_answer_has_its_own(self) -> None:
        answer = await ask(_stage(_page(cache_control=_IMMUTABLE)))
        assert answer.values("cache-control") == [_IMMUTABLE]
        assert answer.values("vary") == []

    async def test_nothing_is_public_behind_a_key(self) -> None:
        stage = _stage(everybody=False)
        assert (await ask(stage)).values("cache-control") == [_OWN]
        stage = _stage(_page(cache_control=_IMMUTABLE), everybody=False)
        (said,) = (await ask(stage)).values("cache-control")
        assert said == "private, max-age=31536000, immutable"


class TestVary:
    async def test_each_once(self) -> None:
        page = _page(vary="accept, ORIGIN,Authorization")
        answer = await ask(_stage(page, by_origin=True))
        (vary,) = answer.values("vary")
        names = [name.lower() for name in vary.split(", ")]
        assert sorted(names) == [
            "accept", "authorization", "cookie", "origin", "x-api-key"
        ]  # fmt: skip

    async def test_the_same_for_all_but_pages(self) -> None:
        """Else a picture that a page showed could not be read by another."""
        stage = _stage(_page(cache_control=_IMMUTABLE), by_origin=True)
        assert (await ask(stage)).values("vary") == ["Origin"]


class TestApp:
    async def test_304_says_the_same(self, client: httpx.AsyncClient) -> None:
        member = await factories.member()
        event = await factories.event()
        for auth in (None, member):
            path = f"/v1/events/{event.id}"
            first = await client.get(path, auth=auth)
            tag = {"If-None-Match": first.headers["etag"]}
            again = await client.get(path, headers=tag, auth=auth)
            assert (first.status_code, again.status_code) == (200, 304)
            for name in ("cache-control", "vary", "etag"):
                once = first.headers.get_list(name)
                assert again.headers.get_list(name) == once
                assert len(once) == 1

    async def test_tickets_vary_by_their_form_too(
        self, client: httpx.AsyncClient
    ) -> None:
        member = await factories.member()
        event = await factories.event()
        await client.put(f"/v1/events/{event.id}/rsvp", auth=member)
        path = f"/v1/events/{event.id}/ticket"
        ticket = await client.get(path, auth=member)
        assert ticket.headers["cache-control"] == _OWN
        assert ticket.headers.get_list("vary") == [f"Accept, {_CALLER}"]

    @pytest.mark.parametrize(
        "path",
        ["/docs", "/openapi.json", "/redoc/redoc.js",
         "/docs/assets/swagger-ui.css"],
    )  # fmt: skip
    async def test_documents(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        response = await client.get(path)
        assert response.headers["cache-control"] == _SHARED
        tag = {"If-None-Match": response.headers["etag"]}
        assert (await client.get(path, headers=tag)).status_code == 304

    @pytest.mark.parametrize("by_member", [False, True])
    async def test_nothing_private_is_public(
        self, client: httpx.AsyncClient, by_member: bool
    ) -> None:
        """All that can be read, by nobody and by who organises the event."""
        client.event_hooks = {}
        member = await factories.admin()
        event = await factories.event(member.actor, public=False)
        image = await factories.image(member.actor)
        await client.put(f"/v1/events/{event.id}/rsvp", auth=member)
        ids = {
            "event_id": event.id,
            "user_id": member.user.id,
            "image_id": image.id,
        }
        auth = member if by_member else None
        public = set()
        for path in _readable():
            response = await client.get(_filled(path, ids), auth=auth)
            (said,) = response.headers.get_list("cache-control")
            if response.status_code >= 400:
                assert said == "no-store", path
            elif "public" in said:
                public.add(path)
        images = {"/v1/images/{image_id}"}
        everybody = {
            "/", "/v1/events", "/v1/events.ics", "/v1/processes",
            "/v1/users/{user_id}",
        }  # fmt: skip
        assert public == (images if by_member else images | everybody)

    async def test_a_feed_is_private_though_nobody_signs_in(
        self, client: httpx.AsyncClient
    ) -> None:
        member = await factories.member()
        path = "/v1/users/me/calendar"
        opened = await client.post(path, auth=member)
        feed = await client.get(
            f"{path}.ics", params={"token": opened.json()["token"]}
        )
        assert feed.headers["cache-control"] == _OWN


def _readable() -> Iterator[str]:
    return (path for method, path in operations() if method == "GET")


def _filled(path: str, ids: dict[str, Any]) -> str:
    for name, value in ids.items():
        path = path.replace(f"{{{name}}}", value)
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + new_id() + rest.partition("}")[2]
    return path
