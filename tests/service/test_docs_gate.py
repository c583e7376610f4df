"""Who may read the docs, as DOCS_ACCESS says."""

import base64
from collections.abc import Iterator

import httpx
import pytest

from config.main import VERSION
from tests import factories
from tests.problems import assert_problem
from tests.service.running import NO_TLS
from tests.service.serving import ADMIN, Served, served

pytestmark = pytest.mark.service

PATHS = [
    "/docs",
    "/redoc",
    "/openapi.json",
    "/docs/assets/swagger-ui-bundle.js",
    "/docs/assets/../assets/swagger-ui.css",
    "/redoc/redoc.js",
    "/%64ocs",
]


@pytest.fixture(name="guarded", scope="module")
def _guarded() -> Iterator[Served]:
    with served(DOCS_ACCESS="admin") as muster:
        yield muster


@pytest.fixture(name="closed", scope="module")
def _closed() -> Iterator[Served]:
    with served(DOCS_ACCESS="off") as muster:
        yield muster


def basic(email: str, password: str) -> dict[str, str]:
    """Headers of a browser whose user was asked."""
    encoded = base64.b64encode(f"{email}:{password}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


def get(
    muster: Served, path: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    """GET over a connection of its own."""
    return httpx.get(
        f"{muster.base_url}{path}", headers=headers, timeout=20, verify=NO_TLS
    )


class TestAdmin:
    @pytest.mark.parametrize("path", PATHS)
    def test_nobody_is_asked_in_both_ways(
        self, guarded: Served, path: str
    ) -> None:
        response = get(guarded, path)
        assert response.status_code == 401
        assert response.json()["type"] == "/problems/not-authenticated"
        assert response.headers.get_list("www-authenticate") == [
            "Bearer",
            'Basic realm="Muster docs", charset="UTF-8"',
        ]
        assert response.headers["cache-control"] == "no-store"

    @pytest.mark.parametrize("path", PATHS)
    def test_an_admin_may(self, guarded: Served, path: str) -> None:
        for headers in (
            basic(ADMIN, factories.PASSWORD),
            basic(ADMIN.upper(), factories.PASSWORD),
            guarded.admin_headers(),
        ):
            response = get(guarded, path, headers)
            assert response.status_code == 200
            assert "public" not in response.headers["cache-control"]

    def test_a_member_may_not(self, guarded: Served) -> None:
        email = guarded.register()
        form = {"username": email, "password": factories.PASSWORD}
        login = httpx.post(f"{guarded.base_url}/v1/auth/login", data=form)
        bearer = {"Authorization": f"Bearer {login.json()['access_token']}"}
        for headers in (bearer, basic(email, factories.PASSWORD)):
            assert_problem(get(guarded, "/docs", headers), 403, "forbidden")

    @pytest.mark.parametrize(
        "headers",
        [
            {"Authorization": value}
            for value in (
                "Bearer x", "Basic", "Basic !", "Basic /w==", "Basic YQ==",
                "Digest x", "",
            )
        ],
        ids=str,
    )  # fmt: skip
    def test_bad_credentials(
        self, guarded: Served, headers: dict[str, str]
    ) -> None:
        assert get(guarded, "/docs", headers).status_code == 401

    def test_guesses_are_counted(self, guarded: Served) -> None:
        """As those at the log-in are, and with them."""
        email = guarded.register()
        answers = [
            get(guarded, "/docs", basic(email, f"wrong {n}")).status_code
            for n in range(11)
        ]
        assert answers == [401] * 10 + [429]
        form = {"username": email, "password": factories.PASSWORD}
        login = httpx.post(f"{guarded.base_url}/v1/auth/login", data=form)
        assert_problem(login, 429, "too-many-attempts")

    def test_a_known_password_ends_with_the_role(self, guarded: Served) -> None:
        """It is not hashed again, but whose it is is looked up each time."""
        email, admin = guarded.register(), guarded.admin_headers()
        password = basic(email, factories.PASSWORD)
        users = f"{guarded.base_url}/v1/users"
        found = httpx.get(users, params={"limit": 100}, headers=admin).json()
        (user_id,) = [u["id"] for u in found["items"] if u["email"] == email]
        for body, status in (
            ({"role": "admin"}, 200),
            ({"role": "member"}, 403),
            ({"role": "admin"}, 200),
            ({"disabled": True}, 401),
        ):
            changed = httpx.patch(
                f"{users}/{user_id}", json=body, headers=admin
            )
            assert changed.status_code == 200
            assert get(guarded, "/docs", password).status_code == status

    def test_nothing_else_tells_the_version(self, guarded: Served) -> None:
        response = get(guarded, "/")
        assert response.json()["version"] is None
        assert response.json()["docs"] == "/docs"
        assert VERSION not in response.text + str(response.headers)

    def test_the_rest_is_open(self, guarded: Served) -> None:
        assert get(guarded, "/v1/events").status_code == 200


class TestOff:
    @pytest.mark.parametrize("path", PATHS)
    def test_there_is_nothing(self, closed: Served, path: str) -> None:
        for headers in ({}, basic(ADMIN, factories.PASSWORD)):
            response = get(closed, path, headers)
            assert response.status_code == 404
            assert response.json()["type"] == "/problems/not-found"

    def test_nothing_points_there(self, closed: Served) -> None:
        shown = get(closed, "/").json()
        assert shown == {
            "name": "Muster",
            "version": None,
            "docs": None,
            "redoc": None,
            "openapi": None,
        }
