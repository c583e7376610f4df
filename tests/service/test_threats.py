"""The threat list: what attackers try first, and what comes of it.

A service as it runs in production, over real sockets.
"""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from config.main import MAX_BODY_BYTES, VERSION
from tests import factories
from tests.service.running import MARKS, Person, Service, create_admin

pytestmark = MARKS

ADMIN = "admin@example.org"
_RING = "/v1/http-events"
PAGE = "https://app.example.org"
SERVICE_SETTINGS = {
    "ENVIRONMENT": "production",
    "ALLOW_EMBEDDED_DB": "true",
    "JWT_SECRET_KEY": "8f3b1b0e5d7c4a6f9e2d1c0b8a7f6e5d",
    "PUBLIC_URL": "https://muster.example.org",
    "ALLOWED_HOSTS": "muster.example.org,127.0.0.1",
    "CORS_ORIGINS": PAGE,
    "METRICS_TOKEN": "the watchman's own token",
    "WEB_CONCURRENCY": "1",
}

# What a query language of documents would understand.
OPERATORS: list[Any] = [
    {"$ne": None}, {"$gt": ""}, {"$regex": ".*"}, {"$where": "1"},
    {"$in": ["", None]}, [{"$ne": 1}],
]  # fmt: skip

# An address with letters that look like those of `ada.o@example.org`, or that
# programs fold into them, and whether it is the same to Muster.
LOOKALIKES = {
    "full width": "\uff41da.o@example.org",
    "homoglyph": "\u0430da.o@example.org",
    "capitals": "ADA.O@EXAMPLE.ORG",
    "dotless i": "ad\u0131.o@example.org",
    "zero width": "a\u200bda.o@example.org",
    "joiner": "a\u200dda.o@example.org",
    "soft hyphen": "a\u00adda.o@example.org",
    "right to left": "\u202eada.o@example.org",
    "combining": "a\u0301da.o@example.org",
    "domain of full width": "ada.o@ex\uff41mple.org",
    "homoglyph in the domain": "ada.o@ex\u0430mple.org",
    "punycode": "ada.o@xn--exmple-4nf.org",
    "full stop of full width": "ada.o@example\uff0eorg",
    "space": " ada.o@example.org ",
    "line break": "ada.o@example.org\nBcc: eve@example.org",
    "two addresses": "ada.o@example.org,eve@example.org",
    "nul": "ada.o@example.org\0",
    "comment": "ada.o(x)@example.org",
    "quoted": '"ada.o"@example.org',
    "angle": "<ada.o@example.org>",
}


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("threats")
    with Service(folder, **SERVICE_SETTINGS) as service:
        create_admin(service, ADMIN)
        yield service


@pytest.fixture(name="admin", scope="module")
def _admin(service: Service) -> Iterator[Person]:
    with service.client() as client:
        yield Person(client, ADMIN, factories.PASSWORD)


def raw(service: Service, request: bytes, seconds: float = 20) -> bytes:
    """What comes back until the connection ends; nothing more is sent."""
    with socket.create_connection(("127.0.0.1", service.port), seconds) as s:
        with suppress(ConnectionError):
            s.sendall(request)
        answer = b""
        with suppress(ConnectionError):
            while piece := s.recv(65536):
                answer += piece
        return answer


def get(target: str, *lines: str, host: str = "muster.example.org") -> bytes:
    """A request that closes its connection."""
    head = (f"GET {target} HTTP/1.1", f"Host: {host}", *lines)
    return "\r\n".join((*head, "Connection: close", "", "")).encode("latin-1")


def post(target: str, *lines: str, body: bytes = b"") -> bytes:
    """A request with headers of the attacker's own."""
    head = (f"POST {target} HTTP/1.1", "Host: muster.example.org", *lines)
    return "\r\n".join((*head, "", "")).encode("latin-1") + body


def status_of(answer: bytes) -> int:
    """The status of a raw answer; 0 of none."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


class TestEveryAnswer:
    @pytest.mark.parametrize(
        "request_bytes",
        [
            get("/"),
            get("/v1/events"),
            get("/v1/users/me"),
            get("/docs"),
            get("/nowhere"),
            get("/", host="evil.example"),
            get("/", "Content-Length: x"),
            get("/" + "x" * 20_000),
            get("/", "X: " + "x" * 70_000),
            post("/v1/events", "Content-Length: 0", "Connection: close"),
            post("/", "Content-Length: 0", "Connection: close"),
            get("/").replace(b"GET", b"OPTIONS", 1),
            get("/").replace(b"GET", b"TRACE", 1),
            get("/").replace(b"GET", b"HEAD", 1),
        ],
        ids=lambda r: r[:28].decode(),
    )
    def test_has_its_headers_and_tells_nothing(
        self, service: Service, request_bytes: bytes
    ) -> None:
        answer = raw(service, request_bytes)
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")[1:]
        headers = dict(line.split(": ", 1) for line in lines)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY".lower()
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-request-id"]
        assert not {"server", "via", "x-powered-by"} & set(headers)
        if status_of(answer) >= 400 and not request_bytes.startswith(b"HEAD"):
            assert headers["content-type"] == "application/problem+json"
            assert json.loads(body)["type"].startswith("/problems/")
        for inside in (VERSION, "Traceback", "uvicorn", "python", "site-pack"):
            assert inside.lower() not in answer.decode("latin-1").lower()


class TestHostHeader:
    @pytest.mark.parametrize(
        "host",
        [
            "evil.example", "muster.example.org.evil.example",
            "evilmuster.example.org", "muster.example.org@evil.example",
            "muster.example.org:80@evil.example", "muster.example.org:x",
            "muster.example.org,evil.example", "muster.example.org/",
            "", "localhost", "0.0.0.0", "[::1]",
        ],
    )  # fmt: skip
    def test_of_others_is_refused(self, service: Service, host: str) -> None:
        assert status_of(raw(service, get("/", host=host))) == 400

    def test_forwarded_ones_change_nothing(
        self, service: Service, admin: Person
    ) -> None:
        """A member's calendar begins with our own name."""
        token = admin.headers["Authorization"]
        request = post(
            "/v1/users/me/calendar",
            f"Authorization: {token}",
            "X-Forwarded-Host: evil.example",
            "Forwarded: host=evil.example",
            "X-Original-URL: /docs",
            "Content-Length: 0",
            "Connection: close",
        )
        answer = raw(service, request)
        assert b"https://muster.example.org/" in answer
        assert b"evil.example" not in answer


class TestCors:
    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example", "null", "*", f"{PAGE}.evil.example",
            "https://evilapp.example.org", "http://app.example.org",
            f"{PAGE}:444", "https://app.example.org@evil.example", "file://",
        ],
    )  # fmt: skip
    def test_other_pages_read_nothing(
        self, service: Service, origin: str
    ) -> None:
        asked = "Access-Control-Request-Method: GET"
        for request in (
            get("/v1/events", f"Origin: {origin}"),
            get("/v1/events", f"Origin: {origin}", asked).replace(
                b"GET", b"OPTIONS", 1
            ),
        ):
            answer = raw(service, request).lower()
            assert b"access-control-allow-origin" not in answer

    def test_our_page_reads_and_nobody_else_by_it(
        self, service: Service
    ) -> None:
        answer = raw(service, get("/v1/events", f"Origin: {PAGE}")).decode()
        assert f"access-control-allow-origin: {PAGE}" in answer
        assert "access-control-allow-origin: *" not in answer


class TestSmuggling:
    """`tests/config/test_protocol.py` has the whole list."""

    @pytest.mark.parametrize(
        "request_bytes",
        [
            post("/", "Content-Length: 5", "Transfer-Encoding: chunked",
                 body=b"0\r\n\r\n"),
            post("/", "Content-Length: 0", "Content-Length: 44"),
            post("/", "Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
            post("/", "Transfer-Encoding: identity, chunked",
                 body=b"0\r\n\r\n"),
            post("/", "Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
            post("/", "Transfer-Encoding: chunked", body=b"0\n\n"),
            post("/", "X: a\r\n Transfer-Encoding: chunked"),
            post("/", "Host: evil.example"),
            post("http://evil.example/"),
        ],
    )  # fmt: skip
    def test_no_second_request_is_found(
        self, service: Service, request_bytes: bytes
    ) -> None:
        answer = raw(service, request_bytes + get("/health/live"))
        assert status_of(answer) == 400
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"connection: close" in answer


class TestSlowClients:
    def test_are_sent_away_and_hold_nobody_up(self, service: Service) -> None:
        """A head that trickles, and a body that stops."""
        body = post("/v1/users", "Content-Type: application/json",
                    "Content-Length: 100", body=b"{")  # fmt: skip

        def trickle(head: bytes, more: bytes) -> tuple[bytes, float]:
            begin = time.monotonic()
            address = ("127.0.0.1", service.port)
            with socket.create_connection(address, 1) as s:
                s.sendall(head)
                while time.monotonic() < begin + 90:
                    with suppress(TimeoutError):
                        return s.recv(65536), time.monotonic() - begin
                    s.sendall(more)
            return b"", 90.0

        with ThreadPoolExecutor(12) as pool:
            heads = [pool.submit(trickle, b"GET / HTTP/1.1\r\nX: ", b"x")
                     for _ in range(10)]  # fmt: skip
            stopped = pool.submit(trickle, body, b"")
            with service.client() as client:
                begin = time.monotonic()
                assert client.get("/health/live").status_code == 200
                assert time.monotonic() - begin < 10
            answers = [*(head.result() for head in heads), stopped.result()]
        for answer, seconds in answers:
            assert status_of(answer) == 408
            assert seconds < 60


class TestHugeRequests:
    def test_headers(self, service: Service) -> None:
        many = [f"X-{number}: 1" for number in range(200)]
        assert status_of(raw(service, get("/", *many))) == 431
        assert status_of(raw(service, get("/", "X: " + "x" * 10**7))) == 431

    def test_addresses(self, service: Service) -> None:
        assert status_of(raw(service, get("/?" + "x" * 20_000))) == 414
        many = "&".join(f"tag=food&x{n}=1" for n in range(1000))
        assert status_of(raw(service, get(f"/v1/events?{many}"))) in (200, 422)

    def test_bodies(self, service: Service) -> None:
        length = f"Content-Length: {MAX_BODY_BYTES + 1}"
        kind = "Content-Type: application/json"
        said = post("/v1/users", kind, length, "Connection: close")
        assert status_of(raw(service, said)) == 413

    @pytest.mark.parametrize(
        "body",
        [
            b"[" * 200_000,
            b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
            b'{"capacity": 1' + b"0" * 100_000 + b"}",
            b'{"capacity": 1e999999}',
            b'{"capacity": NaN, "title": Infinity}',
            b'{"title": "a", "title": "b", "id": "c"}',
            b'{"title": "\\ud800"}',
            b'{"__proto__": {"x": 1}, "$set": {"x": 1}, "a.b": 1}',
            b"\xff\xfe{}\x00",
        ],
        ids=lambda b: b[:20].decode("latin-1"),
    )
    def test_json(self, service: Service, admin: Person, body: bytes) -> None:
        request = post(
            "/v1/events",
            f"Authorization: {admin.headers['Authorization']}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
            body=body,
        )
        assert status_of(raw(service, request)) == 422


class TestUnicode:
    def test_a_lookalike_opens_nobodys_account(self, service: Service) -> None:
        """It is refused, the same address, or somebody else's altogether."""
        other = "another pass phrase"
        with service.client() as client:
            ada = Person.register(client, email="ada.o@example.org")
            outcomes = {
                name: client.post(
                    "/v1/users",
                    json=factories.registration(email=email, password=other),
                ).status_code
                for name, email in LOOKALIKES.items()
            }
            for name, email in LOOKALIKES.items():
                form = {"username": email, "password": other}
                login = client.post("/v1/auth/login", data=form)
                expected = 200 if outcomes[name] == 201 else 401
                assert login.status_code in (expected, 429), name
                if login.status_code == 200:
                    token = login.json()["access_token"]
                    shown = client.get(
                        "/v1/users/me",
                        headers={"Authorization": f"Bearer {token}"},
                    )
                    assert shown.json()["id"] != ada.id, name
        assert set(outcomes.values()) <= {201, 409, 422}
        same = {name for name, status in outcomes.items() if status == 409}
        assert {"capitals", "full width"} <= same
        for name in ("zero width", "soft hyphen", "right to left", "nul",
                     "line break", "two addresses"):  # fmt: skip
            assert outcomes[name] != 201, name


class TestOperators:
    """No input reaches the database as a part of its language."""

    def test_in_bodies(self, service: Service, admin: Person) -> None:
        wrong = {}
        with service.client() as client:
            for method, path, fields in _bodies(_document(client, admin)):
                for field in fields:
                    for value in OPERATORS[:3]:
                        response = admin.send(method, path, {field: value})
                        if response.status_code != 422:
                            wrong[f"{method} {path} {field}"] = response.text
        assert not wrong

    def test_in_forms(self, service: Service) -> None:
        with service.client() as client:
            for form in (
                {"username[$ne]": "1", "password[$ne]": "1"},
                {"username": '{"$ne": null}', "password": '{"$ne": null}'},
                {"username": "' || '1'=='1", "password": "' || '1'=='1"},
            ):
                login = client.post("/v1/auth/login", data=form)
                assert login.status_code in (401, 422)

    def test_in_queries(self, service: Service, admin: Person) -> None:
        with service.client() as client:
            for path, names in _queries(_document(client, admin)):
                usual = len(admin.get(path).content)
                for name in names:
                    for query in (
                        {f"{name}[$ne]": "1"},
                        {f"{name}.$gt": ""},
                        {name: '{"$ne": null}'},
                        {name: "'; return true; //"},
                    ):
                        response = admin.get(path, **query)
                        said = (path, query, response.text)
                        status = response.status_code
                        assert status in (200, 401, 404, 422), said
                        # The last requests are more with each of these.
                        if status == 200 and path != _RING:
                            assert len(response.content) <= usual, said

    def test_in_paths(self, service: Service, admin: Person) -> None:
        with service.client() as client:
            document = _document(client, admin)
        for path in document["paths"]:
            if "{" not in path:
                continue
            for value in ('{"$ne":null}', "[$ne]", "$where", "..", "%00", "\0"):
                filled = _fill(path, quote(value, safe=""))
                response = admin.get(filled)
                assert response.status_code in (200, 401, 404, 405, 422), filled
                # A client resolves `..` itself, and asks for another path.
                is_same = response.url.path.count("/") == path.count("/")
                if is_same and "." not in path:
                    assert response.status_code != 200, filled


class TestLogs:
    def test_nobody_writes_lines_of_their_own(self, service: Service) -> None:
        forged = "%0d%0aFORGED%1b[31m"
        for request in (
            get(f"/v1/x{forged}"),
            get(f"/?x={forged}"),
            get("/", "X-Request-ID: x%0aFORGED", "User-Agent: \x85FORGED"),
            get("/", "Referer: a\u2028FORGED".encode().decode("latin-1")),
            get("/", "X: a\nFORGED"),
            get("/", host="x\x1b[31mFORGED"),
        ):
            raw(service, request)
        for line in (service.errors() + service.output()).splitlines():
            assert not line.startswith("FORGED")
            assert "\x1b" not in line

    def test_secrets_are_not_in_them(
        self, service: Service, admin: Person
    ) -> None:
        key = admin.send("POST", "/v1/api-keys", {"name": "x"}).json()["key"]
        secrets = [
            factories.PASSWORD, admin.tokens["access_token"], key,
            admin.tokens["refresh_token"], SERVICE_SETTINGS["METRICS_TOKEN"],
            SERVICE_SETTINGS["JWT_SECRET_KEY"],
        ]  # fmt: skip
        for secret in secrets:
            coded = quote(secret)
            for request in (
                get(f"/v1/events?token={coded}&key={coded}"),
                get("/v1/events", f"Authorization: Bearer {secret}"),
                get("/v1/events", f"X-API-Key: {secret}"),
                get("/v1/events", f"Cookie: X-API-Key={secret}"),
            ):
                raw(service, request)
        written = service.errors() + service.output()
        for secret in secrets:
            assert secret not in written
            assert quote(secret) not in written


class TestForgedAddresses:
    def test_the_audit_has_the_true_one(
        self, service: Service, admin: Person
    ) -> None:
        forged = {
            "X-Forwarded-For": "203.0.113.9",
            "X-Real-IP": "203.0.113.9",
            "Forwarded": "for=203.0.113.9",
            "CF-Connecting-IP": "203.0.113.9",
        }
        with service.client() as client:
            client.post(
                "/v1/auth/login",
                data={"username": ADMIN, "password": "wrong"},
                headers=forged,
            )
        assert "203.0.113.9" not in admin.get("/v1/audit").text
        assert "203.0.113.9" not in service.errors()


class TestDisclosure:
    def test_what_is_for_operators_is_closed(self, service: Service) -> None:
        with service.client() as client:
            for path in ("/docs", "/redoc", "/openapi.json", "/metrics"):
                assert client.get(path).status_code == 401
            assert client.get("/v1/http-events").status_code == 401
            assert client.get("/").json()["version"] is None
            for path in ("/.env", "/.git/config", "/app.py", "/server-status",
                         "/docs/assets/../../app.py", "/debug", "/admin",
                         "/docs/assets/%2e%2e/%2e%2e/app.py"):  # fmt: skip
                assert client.get(path).status_code in (401, 404)

    def test_nothing_strange_breaks_it(self, service: Service) -> None:
        for target in (
            "/%00", "/%ff", "/%c0%ae", "/v1/users/%F0%9F%92%A9", "//", "/;/",
            "/v1/events/%2e%2e%2fusers", "/v1/events?near=nan,nan",
            "/v1/events?limit=99999999999999999999", "/v1/events?cursor=%00",
            "/v1/events?q=%00", "/v1/events?starts_after=9999-99-99",
            "/v1/events?near=1e400,1", "/v1/images/x?size=../../etc/passwd",
        ):  # fmt: skip
            answer = raw(service, get(target))
            assert 200 <= status_of(answer) < 500, target
            assert b"Traceback" not in answer

    def test_at_the_end_the_log_has_no_trace(self, service: Service) -> None:
        """Whatever came before in this file, nothing was a fault of ours."""
        assert "Traceback" not in service.errors()


def _document(client: httpx.Client, admin: Person) -> dict[str, Any]:
    response = client.get("/openapi.json", headers=admin.headers)
    assert response.status_code == 200
    document: dict[str, Any] = response.json()
    return document


def _fill(path: str, value: str = factories.UNKNOWN_ID) -> str:
    """A path of a template, with `value` in all its places."""
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + value + rest.partition("}")[2]
    return path


def _bodies(document: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """Each operation that reads JSON, with the fields of its body."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            for option in schema.get("anyOf", [schema]):
                if "$ref" in option:
                    name = option["$ref"].rpartition("/")[2]
                    model = document["components"]["schemas"][name]
                    yield method.upper(), _fill(path), list(model["properties"])


def _queries(document: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Each GET with the parameters of its query."""
    for path, methods in document["paths"].items():
        parameters = methods.get("get", {}).get("parameters", [])
        names = [p["name"] for p in parameters if p["in"] == "query"]
        if names:
            yield _fill(path), names
