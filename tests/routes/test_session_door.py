"""The door of sessions over HTTP: who passes, and what becomes of headers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app import app
from config import db
from config.http_events import recent
from config.passing import Passage
from models.scopes import Scope
from models.sessions import Session, SessionStatus
from tests import containers, factories
from tests.commands import counted
from tests.problems import assert_problem
from utils import session_door
from utils.sessions import COLLECTION

_HTML = {"Accept": "text/html,*/*"}


@pytest_asyncio.fixture(name="port")
async def _port() -> AsyncIterator[int]:
    async with containers.container() as port:
        yield port


@pytest_asyncio.fixture(name="owner")
async def _owner(client: httpx.AsyncClient) -> factories.Member:
    del client
    return await factories.member()


@pytest_asyncio.fixture(name="session")
async def _session(owner: factories.Member, port: int) -> Session:
    return await factories.running_session(owner.actor, port=port)


def _at(session: Session, path: str = "") -> str:
    return f"/v1/sessions/{session.id}/proxy/{path}"


def _token(session: Session) -> dict[str, str]:
    return {"Authorization": f"token {session.token}"}


def _named(answer: httpx.Response) -> dict[str, Any]:
    return dict(answer.json()["headers"])


class TestWhoPasses:
    async def test_owner(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
    ) -> None:
        answer = await client.get(_at(session, "a%2Fb?x=1&y"), auth=owner)
        assert answer.status_code == 200
        assert answer.json()["path"] == "/a%2Fb?x=1&y"
        assert answer.headers["x-theirs"] == "yes"

    async def test_own_token(
        self, client: httpx.AsyncClient, session: Session
    ) -> None:
        by_header = await client.get(_at(session), headers=_token(session))
        assert by_header.status_code == 200
        by_query = await client.post(_at(session, f"x?token={session.token}"))
        assert by_query.json()["path"] == "/x"

    async def test_a_browser(
        self, client: httpx.AsyncClient, session: Session
    ) -> None:
        """It gets a cookie for the token, and an address without it."""
        first = await client.get(
            _at(session, f"lab?a=b&token={session.token}"), headers=_HTML
        )
        assert first.status_code == 303
        assert first.headers["location"] == _at(session, "lab?a=b")
        assert first.headers["cache-control"] == "no-store"
        cookie = first.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert f"path=/v1/sessions/{session.id}/proxy;" in cookie
        assert session.token not in cookie
        page = await client.get(first.headers["location"], headers=_HTML)
        assert page.status_code == 200
        assert page.json()["path"] == "/lab?a=b"

    async def test_a_browser_from_another_site(
        self, client: httpx.AsyncClient, session: Session
    ) -> None:
        """Of a redirect it would keep the cookie back."""
        first = await client.get(
            _at(session, f"lab?token={session.token}"),
            headers={**_HTML, "Sec-Fetch-Site": "cross-site"},
        )
        assert first.status_code == 200
        assert first.headers["refresh"] == f"0; url={_at(session, 'lab')}"
        assert "set-cookie" in first.headers

    async def test_by_https(
        self, client: httpx.AsyncClient, session: Session
    ) -> None:
        first = await client.get(
            f"https://muster.test{_at(session)}?token={session.token}",
            headers=_HTML,
        )
        assert "; secure" in first.headers["set-cookie"].lower()

    async def test_an_api_key(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
    ) -> None:
        async def key(scope: Scope) -> dict[str, str]:
            made = await client.post(
                "/v1/api-keys",
                json={"name": "x", "scopes": [scope]},
                auth=owner,
            )
            assert made.status_code == 201, made.text
            return {"X-API-Key": made.json()["key"]}

        reads = await key(Scope.COMPUTE_READ)
        assert (await client.get(_at(session), headers=reads)).is_success
        answer = await client.post(_at(session), headers=reads)
        assert_problem(answer, 403, "insufficient-scope")
        other = await key(Scope.EVENTS_WRITE)
        answer = await client.get(_at(session), headers=other)
        assert_problem(answer, 403, "insufficient-scope")
        writes = await key(Scope.COMPUTE_WRITE)
        assert (await client.post(_at(session), headers=writes)).is_success

    @pytest.mark.parametrize("role", ["member", "admin"])
    async def test_somebody_else(
        self, client: httpx.AsyncClient, session: Session, role: str
    ) -> None:
        stranger = await getattr(factories, role)()
        answer = await client.get(_at(session), auth=stranger)
        assert_problem(answer, 404, "session-not-found")

    async def test_nobody(
        self, client: httpx.AsyncClient, session: Session
    ) -> None:
        answer = await client.get(_at(session))
        assert_problem(answer, 401, "not-authenticated")
        # Guards of Muster's own answers stay.
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"

    async def test_another_sessions_token(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
    ) -> None:
        other = await factories.running_session(owner.actor, port=1)
        cookie = {"Cookie": f"muster-door={session_door.pass_of(other)}"}
        odd = httpx.Headers({b"Cookie": b"muster-door=\xff"})
        for wrong in (
            _token(other),
            cookie,
            {"Cookie": "muster-door=x"},
            # Python compares no such text as it came.
            odd,
        ):
            answer = await client.get(_at(session), headers=wrong)
            assert_problem(answer, 404, "session-not-found")
        answer = await client.get(_at(session, f"?token={other.token}"))
        assert_problem(answer, 404, "session-not-found")

    async def test_unknown(
        self, client: httpx.AsyncClient, owner: factories.Member
    ) -> None:
        path = f"/v1/sessions/{factories.UNKNOWN_ID}/proxy/"
        answer = await client.get(path, auth=owner)
        assert_problem(answer, 404, "session-not-found")

    @pytest.mark.parametrize(
        "status", [each for each in SessionStatus if each != "running"]
    )
    async def test_not_running(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
        status: SessionStatus,
    ) -> None:
        """An ended session lets nobody pass, from its end on."""
        assert (await client.get(_at(session), auth=owner)).is_success
        await db.collection(COLLECTION).update_one(
            {"_id": session.id}, {"$set": {"status": status}}
        )
        answer = await client.get(_at(session), auth=owner)
        problem = assert_problem(answer, 409, "session-state")
        assert problem["state"] == status

    async def test_nothing_answers(
        self, client: httpx.AsyncClient, owner: factories.Member
    ) -> None:
        session = await factories.running_session(owner.actor, port=1)
        answer = await client.get(_at(session), auth=owner)
        assert_problem(answer, 502, "session-unreachable")

    async def test_a_page_of_another_site(
        self, client: httpx.AsyncClient, session: Session
    ) -> None:
        """A neighbour of the same domain is same-site for the cookie."""
        cookie = f"muster-door={session_door.pass_of(session)}"
        headers = {"Cookie": cookie, "Origin": "http://evil.muster.test"}
        answer = await client.post(_at(session), headers=headers)
        assert_problem(answer, 403, "forbidden")
        headers["Origin"] = "http://muster.test"
        assert (await client.post(_at(session), headers=headers)).is_success

    async def test_one_read(
        self, client: httpx.AsyncClient, session: Session
    ) -> None:
        with counted() as commands:
            await client.get(_at(session), headers=_token(session))
        assert commands == ["find"]

    async def test_without_the_slash(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
    ) -> None:
        bare = _at(session).rstrip("/")
        answer = await client.get(f"{bare}?a=b", auth=owner)
        assert answer.status_code == 307
        assert answer.headers["location"] == f"{bare}/?a=b"

    async def test_only_those_unknown_are_counted(
        self,
        client: httpx.AsyncClient,
        session: Session,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked = []
        def count(*_caller: object, **_more: object) -> list[object]:
            asked.append(1)
            return []

        monkeypatch.setattr(app.state.session_door, "_admit", count)
        for _ in range(3):
            await client.get(_at(session), headers=_token(session))
            await client.get(_at(session), headers={"Cookie": "muster-door=x"})
        assert len(asked) == 4


    async def test_an_api_keys_cookie(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
    ) -> None:
        """It opens the door, and stays on this side of it."""
        made = await client.post(
            "/v1/api-keys",
            json={"name": "x", "scopes": ["compute:read"]},
            auth=owner,
        )
        cookie = f"a=1; X-API-Key={made.json()['key']}; b=2"
        answer = await client.get(_at(session), headers={"Cookie": cookie})
        assert _named(answer)["cookie"] == "a=1; b=2"

    @pytest.mark.parametrize(
        ("scope", "status", "slug"),
        [
            (Scope.COMPUTE_READ, 404, "session-not-found"),
            (Scope.EVENTS_WRITE, 403, "insufficient-scope"),
        ],
    )
    # pylint: disable-next=too-many-positional-arguments  # All are fixtures.
    async def test_a_key_is_led_nowhere_else(
        self,
        client: httpx.AsyncClient,
        session: Session,
        scope: Scope,
        status: int,
        slug: str,
    ) -> None:
        """A stranger's page would act with the key of who looks at it."""
        made = await client.post(
            "/v1/api-keys",
            json={"name": "x", "scopes": [scope]},
            auth=await factories.member(),
        )
        key = f"X-API-Key={made.json()['key']}"
        link = _at(session, f"?token={session.token}")
        answer = await client.get(link, headers={**_HTML, "Cookie": key})
        assert_problem(answer, status, slug)
        both = f"{key}; muster-door={session_door.pass_of(session)}"
        answer = await client.get(_at(session), headers={"Cookie": both})
        assert_problem(answer, status, slug)


class TestOddContainers:
    """What answers is a member's own program, and may say anything."""

    @pytest.mark.parametrize("status", [101, 199, 600, 999])
    async def test_no_status_of_an_answer(
        self, client: httpx.AsyncClient, owner: factories.Member, status: int
    ) -> None:
        said = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()
        async with containers.silent(said) as port:
            session = await factories.running_session(owner.actor, port=port)
            answering = asyncio.create_task(
                client.get(_at(session), auth=owner)
            )
            if status == 199:
                # Not the last word: it is waited for, while the session lives.
                await _until_passing(session)
                _passage().cut(session.id)
            answer = await answering
        assert_problem(answer, 502, "session-unreachable")

    @pytest.mark.parametrize("status", [204, 304])
    async def test_a_length_of_nothing(
        self, client: httpx.AsyncClient, owner: factories.Member, status: int
    ) -> None:
        said = f"HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n".encode()
        async with containers.silent(said) as port:
            session = await factories.running_session(owner.actor, port=port)
            answer = await client.get(_at(session), auth=owner)
        assert answer.status_code == status
        assert "content-length" not in answer.headers

    async def test_control_bytes(
        self, client: httpx.AsyncClient, owner: factories.Member
    ) -> None:
        said = (
            b"HTTP/1.1 200 OK\r\nX-Odd: a\x01b\r\nX-Even: a\tb\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        async with containers.silent(said) as port:
            session = await factories.running_session(owner.actor, port=port)
            answer = await client.get(_at(session), auth=owner)
        assert "x-odd" not in answer.headers
        assert answer.headers["x-even"] == "a\tb"

    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_silence_ends_with_the_session(
        self, client: httpx.AsyncClient, owner: factories.Member, method: str
    ) -> None:
        async with containers.silent() as port:
            session = await factories.running_session(owner.actor, port=port)
            answering = asyncio.create_task(
                client.request(
                    method, _at(session), content=b"x", auth=owner
                )
            )
            await _until_passing(session)
            _passage().cut(session.id)
            assert_problem(await answering, 502, "session-unreachable")
        assert session.id not in _passage().session_ids


def _passage() -> Passage:
    passage: Passage = app.state.passage
    return passage


async def _until_passing(session: Session) -> None:
    async with asyncio.timeout(10):
        while session.id not in _passage().session_ids:
            await asyncio.sleep(0.01)


async def _location(
    client: httpx.AsyncClient,
    owner: factories.Member,
    session: Session,
    *,
    asked: str,
    to: str,
) -> str:
    """Where a container's redirect leads, for a client that asked a host."""
    answer = await client.get(
        _at(session, "moved"),
        params={"to": to},
        headers={"Host": asked},
        auth=owner,
    )
    return str(answer.headers["location"])


class TestHeaders:
    async def test_what_the_container_gets(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
    ) -> None:
        answer = await client.post(
            _at(session, "x"),
            auth=owner,
            content=b"hello",
            headers=[
                ("Cookie", "a=1; muster-door=x; b=2"),
                ("X-Forwarded-For", "1.2.3.4"),
                ("Connection", "x-private"),
                ("X-Private", "1"),
                ("Accept-Encoding", "gzip"),
                ("Origin", "http://muster.test"),
            ],
        )
        said = answer.json()
        got = _named(answer)
        assert said["method"] == "POST"
        assert said["body"] == "hello"
        assert got["authorization"] == f"token {session.token}"
        assert got["cookie"] == "a=1; b=2"
        assert got["host"] == got["x-forwarded-host"] == "muster.test"
        assert got["x-forwarded-for"] == "127.0.0.1"
        assert got["x-forwarded-proto"] == "http"
        assert got["x-forwarded-prefix"] == _at(session).rstrip("/")
        assert got["x-request-id"] == answer.headers["x-request-id"]
        assert got["accept-encoding"] == "gzip"
        assert got["content-length"] == "5"
        assert "x-private" not in got

    async def test_what_the_client_gets(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
    ) -> None:
        answer = await client.get(_at(session), auth=owner)
        home = _at(session)
        assert answer.headers.get_list("set-cookie") == [
            f"_xsrf=1; Path={home}; HttpOnly",
            f"plain=2; Path={home}",
        ]
        for gone in (
            "clear-site-data",
            "service-worker-allowed",
            "x-accel-redirect",
            "x-hop",
            "x-sendfile",
        ):
            assert gone not in answer.headers
        policy = answer.headers["content-security-policy"]
        assert f"connect-src http://muster.test{home} ws:" in policy
        # Not what is said of Muster's own answers.
        assert "default-src" not in policy
        assert "x-frame-options" not in answer.headers
        assert "etag" not in answer.headers

    @pytest.mark.parametrize("base_path", [False, True])
    @pytest.mark.parametrize(
        ("to", "leads_to"),
        [
            ("/login?next=%2F", "login?next=%2F"),
            ("lab", "lab"),
            ("http://muster.test/lab#x", "lab#x"),
            ("//muster.test/lab", "lab"),
            ("{own}tree", "tree"),
            ("../../../users/me", ""),
            ("/%2e%2e/%2E%2e/users", ""),
            ("/..\\..\\users", ""),
        ],
    )
    # pylint: disable-next=too-many-positional-arguments  # All are fixtures.
    async def test_moved(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        port: int,
        to: str,
        leads_to: str,
        base_path: bool,
    ) -> None:
        session = await factories.running_session(
            owner.actor, port=port, base_path=base_path
        )
        own = _at(session) if base_path else f"http://127.0.0.1:{port}/"
        answer = await client.get(
            _at(session, "moved"),
            params={"to": to.format(own=own)},
            auth=owner,
        )
        assert answer.status_code == 302
        assert answer.headers["location"] == _at(session, leads_to)

    @pytest.mark.parametrize(
        ("asked", "to"),
        [
            ("muster.test", "example.org"),
            ("muster.test", "EXAMPLE.org:8443"),
            ("muster.test", "[2001:db8::1]"),
            ("muster.test", "127.0.0.1"),
            ("127.0.0.1", "muster.test"),
        ],
    )
    # pylint: disable-next=too-many-positional-arguments  # All are fixtures.
    async def test_moved_elsewhere(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
        asked: str,
        to: str,
    ) -> None:
        to = f"https://{to}/v1/users/me"
        moved = await _location(client, owner, session, asked=asked, to=to)
        assert moved == to

    @pytest.mark.parametrize(
        ("asked", "to"),
        [
            ("muster.test", "MUSTER.test"),
            ("muster.test", "muster.test:443"),
            ("muster.test", "muster.test."),
            ("muster.test", "a@muster.test"),
            ("muster.test", "a:b@muster.test:80"),
            ("muster.test", "m%75ster.test"),
            ("muster.test", "mus\u00adter.test"),
            ("muster.test:80", "muster.test"),
            ("127.0.0.1", "127.1"),
            ("127.0.0.1", "2130706433"),
            ("127.0.0.1:80", "0x7F.0.0.1"),
            ("127.0.0.1", "[::1]"),
        ],
    )
    # pylint: disable-next=too-many-positional-arguments  # All are fixtures.
    async def test_our_own_host_by_another_spelling(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
        asked: str,
        to: str,
    ) -> None:
        """A page's fetch would follow it to all of Muster."""
        to = f"https://{to}/v1/users/me"
        moved = await _location(client, owner, session, asked=asked, to=to)
        assert moved == _at(session)

    async def test_base_path(
        self, client: httpx.AsyncClient, owner: factories.Member, port: int
    ) -> None:
        session = await factories.running_session(
            owner.actor, port=port, base_path=True
        )
        answer = await client.get(_at(session, "x?y"), auth=owner)
        assert answer.json()["path"] == _at(session, "x?y")
        assert "x-forwarded-prefix" not in _named(answer)

    async def test_a_range(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
    ) -> None:
        answer = await client.get(
            _at(session, "file"), headers={"Range": "bytes=2-4"}, auth=owner
        )
        assert answer.status_code == 206
        assert answer.content == b"234"
        assert answer.headers["content-range"] == "bytes 2-4/10"

    @pytest.mark.parametrize(
        "method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]
    )
    async def test_methods(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
        method: str,
    ) -> None:
        answer = await client.request(method, _at(session), auth=owner)
        assert answer.json()["method"] == method

    async def test_head(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
    ) -> None:
        answer = await client.head(_at(session, "file"), auth=owner)
        assert answer.headers["content-length"] == "10"
        assert answer.content == b""

    async def test_more_than_muster_takes_itself(
        self,
        client: httpx.AsyncClient,
        owner: factories.Member,
        session: Session,
    ) -> None:
        content = bytes(3 * 1024 * 1024)
        answer = await client.post(
            _at(session, "length"), content=content, auth=owner
        )
        assert answer.json() == len(content)


async def test_it_leaves_no_record(
    client: httpx.AsyncClient, owner: factories.Member, session: Session
) -> None:
    """What a member does in a session is not for admins to read."""
    recent.take()
    answer = await client.get(_at(session, "secret-page"), auth=owner)
    assert answer.is_success
    assert not recent.take()
