"""Whatever is written where something is parsed: refused, and no fault."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.api_keys import ApiKeyCreate
from models.base import utc_now
from tests import factories
from tests.fuzzing import examples
from tests.problems import assert_problem
from utils import api_keys, calendar_reader, rsvps

Client = httpx.AsyncClient


def _pieces(*pieces: bytes) -> st.SearchStrategy[bytes]:
    """What a grammar is made of, in any order, and anything between."""
    some = st.sampled_from(pieces) | st.binary(max_size=4)
    return st.lists(some, max_size=12).map(b"".join)


_HEADERS = {
    "If-Match": _pieces(b'"', b"W/", b"*", b",", b" ", b'"a"'),
    "If-None-Match": _pieces(b'"', b"W/", b"*", b",", b" ", b'"a"'),
    "Range": _pieces(b"bytes", b"=", b"-", b",", b"0", b"99999999999999999999"),
    "If-Range": _pieces(b'"', b"W/", b"Thu, 26 Nov 2026 00:00:00 GMT"),
    "Accept": _pieces(b"*/*", b"image/", b"svg+xml", b";q=", b"0.5", b","),
    "Accept-Encoding": _pieces(b"gzip", b"*", b";q=0", b","),
    "Authorization": _pieces(b"Bearer ", b"Basic ", b".", b"eyJ", b"e30", b"="),
    "X-API-Key": _pieces(b"mk_", b"0" * 32, b"_", b"A" * 43),
    "Cookie": _pieces(b"X-API-Key", b"=", b";", b'"', b"mk_", b" "),
    "Origin": _pieces(b"https://", b"null", b"muster.test", b":", b"/", b"["),
    "X-Request-ID": _pieces(b"a", b"-", b"\r", b"\n", b"\0"),
    "X-Forwarded-For": _pieces(b"1.2.3.4", b",", b"[::1]", b":", b"unknown"),
    "Forwarded": _pieces(b"for=", b'"', b"[::1]", b";", b",", b"_x"),
    "Idempotency-Key": _pieces(b"a", b'"', b" "),
    "Last-Event-ID": _pieces(b"0", b"-1", b"9" * 30, b".", b":"),
    "Content-Type": _pieces(b"application/json", b";", b"charset=", b"utf-7"),
    "traceparent": _pieces(b"00", b"-", b"0" * 32, b"f" * 16, b"zz"),
}


@pytest.fixture(name="guest")
async def _guest(client: Client) -> AsyncIterator[factories.Member]:
    """A member with a seat and a task, and all that lists may show."""
    del client  # The database is empty.
    guest = await factories.admin()
    for _ in range(3):
        event = await factories.event(guest.actor)
        await rsvps.join(event.id, actor=guest.actor)
        await rsvps.join(event.id, actor=factories.actor())
        await factories.task(guest.actor)
        await factories.member()
        await factories.tier(f"tier{event.id[:6]}")
        await factories.session(guest.actor)
        new = ApiKeyCreate(name="scanner")
        await api_keys.create_key(new, actor=guest.actor)
    yield guest


class TestHeaders:
    @examples(60)
    @given(data=st.data())
    async def test_anything(
        self, client: Client, guest: factories.Member, data: st.DataObject
    ) -> None:
        own = (await client.get("/v1/users/me/rsvps", auth=guest)).json()
        event = own["items"][0]["event"]["id"]
        names = data.draw(
            st.lists(st.sampled_from(sorted(_HEADERS)), max_size=4)
        )
        headers = [
            (name.encode(), data.draw(_HEADERS[name], name)) for name in names
        ]
        method, path = data.draw(
            st.sampled_from(
                [
                    ("GET", f"/v1/events/{event}"),
                    ("PATCH", f"/v1/events/{event}"),
                    ("GET", f"/v1/events/{event}/ticket"),
                    ("POST", "/v1/events"),
                    ("GET", "/v1/events.ics"),
                    ("OPTIONS", "/v1/events"),
                ]
            )
        )
        auth = None if "Authorization" in names else guest
        response = await client.request(
            method, path, headers=headers, content=b"{}", auth=auth
        )
        assert response.status_code < 500, response.text


# Anything that JSON can say where a cursor says where it stands.
_VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(-1, 1)
    | st.floats()
    | st.text(max_size=8)
    | st.just("\ud800")
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.sampled_from(["$gt", "$where"]), st.text(), max_size=1)
)

_LISTS = [
    "/v1/events",
    "/v1/events?near=48.87,2.33",
    "/v1/events?q=numpy",
    "/v1/events?mine=true",
    "/v1/events?tag=workshop&starts_after=2020-01-01T00:00:00Z",
    "/v1/users",
    "/v1/users?q=ada",
    "/v1/users/me/rsvps",
    "/v1/audit",
    "/v1/tasks",
    "/v1/sessions",
    "/v1/tiers",
    "/v1/api-keys",
    "/v1/auth/logins",
    "/v1/http-events",
]


class TestCursors:
    @pytest.mark.parametrize("path", _LISTS)
    @examples(12)
    @given(data=st.data())
    async def test_forged(
        self,
        client: Client,
        guest: factories.Member,
        path: str,
        data: st.DataObject,
    ) -> None:
        cursor = await self._cursor(client, guest, path)
        if cursor is None:
            assert path == "/v1/auth/logins"
            return
        names = sorted(set(cursor) - {"query"})
        for name in data.draw(st.sets(st.sampled_from(names), min_size=1)):
            cursor[name] = data.draw(_VALUES, name)
        response = await self._next(client, guest, path, cursor)
        assert response.status_code in (200, 422), response.text

    @pytest.mark.parametrize("path", _LISTS)
    async def test_more_than_the_database_counts(
        self, client: Client, guest: factories.Member, path: str
    ) -> None:
        cursor = await self._cursor(client, guest, path) or {}
        for name, value in cursor.items():
            if not isinstance(value, int):
                continue
            response = await self._next(
                client, guest, path, cursor | {name: 2**63}
            )
            assert_problem(response, 422, "invalid-request")

    async def _cursor(
        self, client: Client, guest: factories.Member, path: str
    ) -> dict[str, Any] | None:
        """What stands in the cursor of a list's first page, if it has one."""
        url = httpx.URL(path).copy_set_param("limit", "1")
        text = (await client.get(url, auth=guest)).json()["next_cursor"]
        if text is None:
            return None
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text))
        return found

    async def _next(
        self,
        client: Client,
        guest: factories.Member,
        path: str,
        cursor: dict[str, Any],
    ) -> httpx.Response:
        text = base64.urlsafe_b64encode(json.dumps(cursor).encode()).decode()
        url = httpx.URL(path).copy_merge_params({"limit": 1, "cursor": text})
        return await client.get(url, auth=guest)


_QUERY = _pieces(
    b"48.87", b",", b"nan", b"inf", b"1e999", b"-", b" ", b"%", b"$", b"{",
    b"\xf0\x9f\x98\x80", b"\xcc\x81", b"\xe2\x80\x8b", b"\0", b"2026-01-01",
    b"T24:00:00", b"Z", b"+99:99", b"0" * 30, b"a" * 60,
)  # fmt: skip


class TestQueries:
    @examples(80)
    @given(
        names=st.sets(
            st.sampled_from(
                ["q", "near", "radius_km", "starts_after", "starts_before",
                 "tag", "status", "sort", "mine", "limit", "cursor"]
            ),
            min_size=1, max_size=3,
        ),
        data=st.data(),
    )  # fmt: skip
    async def test_anything(
        self, client: Client, names: set[str], data: st.DataObject
    ) -> None:
        params = {
            name: data.draw(_QUERY, name).decode("latin-1") for name in names
        }
        for path in ("/v1/events", "/v1/events.ics"):
            response = await client.get(path, params=params)
            assert response.status_code in (200, 422), response.text


_PARTS = _pieces(
    b"--x\r\n", b"--x--\r\n", b"\r\n", b"\n", b"--", b"x",
    b'Content-Disposition: form-data; name="file"; filename="a.npy"\r\n',
    b'Content-Disposition: form-data; name="array"; filename="a"\r\n',
    b'Content-Disposition: form-data; name="operation"\r\n',
    b"Content-Disposition: form-data; name*=utf-8''array\r\n",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-Type: image/png\r\n",
    b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"[1, 2]",
    b"NaN", b'"' * 9, b"\0" * 9, factories.picture("PNG", (2, 2)),
)  # fmt: skip


class TestForms:
    @examples(60)
    @given(
        body=_PARTS,
        path=st.sampled_from(["/v1/images", "/v1/processes/np-array"]),
        boundary=st.sampled_from(["; boundary=x", "", "; boundary=", ";x"]),
    )
    async def test_anything(
        self,
        client: Client,
        guest: factories.Member,
        body: bytes,
        path: str,
        boundary: str,
    ) -> None:
        response = await client.post(
            path,
            content=b"--x\r\n" + body,
            headers={"Content-Type": f"multipart/form-data{boundary}"},
            auth=guest,
        )
        assert response.status_code < 500, response.text


_LINES = st.lists(
    st.tuples(
        st.sampled_from(
            ["BEGIN", "END", "UID", "DTSTART", "DTSTART;TZID=Europe/Paris",
             "DTSTART;VALUE=DATE", "DTEND", "DURATION", "RRULE", "RDATE",
             "EXDATE", "RECURRENCE-ID", "STATUS", "GEO", "CATEGORIES",
             "X-WR-TIMEZONE", "TZOFFSETFROM", "TZOFFSETTO", "TZID", " ", ";"]
        ),
        st.sampled_from(
            ["VEVENT", "VTIMEZONE", "STANDARD", "VCALENDAR", "a@b",
             "20270101T100000Z", "20270101", "00010101T000000",
             "99991231T235959Z", "-P1D", "PT1H", "P99999999999W",
             "FREQ=DAILY;COUNT=3", "FREQ=SECONDLY", "FREQ=YEARLY;BYMONTH=13",
             "FREQ=DAILY;INTERVAL=0", "FREQ=DAILY;UNTIL=x", "1;2", "nan;nan",
             "Europe/Paris", "+9999", "", "\u2028", "\0"]
        )
        | st.text(max_size=6),
    ),
    max_size=14,
)  # fmt: skip


class TestCalendars:
    @examples(60)
    @given(lines=_LINES, nested=st.booleans())
    def test_anything(
        self,
        monkeypatch: pytest.MonkeyPatch,
        lines: list[tuple[str, str]],
        nested: bool,
    ) -> None:
        """What can't be read is a problem in the answer; nothing is raised."""
        # That counts the time of a process of its own.
        monkeypatch.setattr(calendar_reader, "_SECONDS", float("inf"))
        inner = "".join(f"{name}:{value}\r\n" for name, value in lines)
        if nested:
            inner = f"BEGIN:VEVENT\r\nUID:u\r\n{inner}END:VEVENT\r\n"
        body = factories.calendar(inner).encode("utf-8", "surrogatepass")
        found = calendar_reader.read(body, now=utc_now())
        json.dumps(vars(found))
