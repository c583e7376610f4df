"""Whose credentials these are."""

import httpx
import pytest

from config import db
from config.credentials import Credentials
from models.exceptions import NotAuthenticatedError
from tests import factories
from tests.commands import counted
from tests.problems import assert_problem
from utils import callers, logins


@pytest.mark.usefixtures("database")
class TestIdentify:
    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    async def test_access_token(self, scheme: str) -> None:
        member = await factories.member()
        token = member.tokens.access_token
        with counted() as commands:
            found = await callers.identify(Credentials(f"{scheme} {token}"))
        assert found == member.actor
        assert commands == ["find"]

    @pytest.mark.parametrize(
        "authorization", ["", "Bearer", "Bearer x", "Basic YTpi", "ÿ"]
    )
    async def test_bad_ones_cost_no_read(self, authorization: str) -> None:
        with counted() as commands:
            found = await callers.identify(Credentials(authorization))
        assert isinstance(found, NotAuthenticatedError)
        assert not commands


class TestCallers:
    async def test_bad_credentials_where_nobody_asks(
        self, client: httpx.AsyncClient
    ) -> None:
        headers = {"Authorization": "Bearer x"}
        assert (await client.get("/", headers=headers)).status_code == 200
        form = {"username": "a@example.org", "password": "x"}
        response = await client.post(
            "/v1/auth/login", data=form, headers=headers
        )
        assert_problem(response, 401, "bad-credentials")

    async def test_bad_credentials_where_everybody_may(
        self, client: httpx.AsyncClient
    ) -> None:
        headers = {"Authorization": "Bearer x"}
        response = await client.get("/v1/events", headers=headers)
        assert_problem(response, 401, "not-authenticated")

    async def test_database_away(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What needs no caller goes on; what does says what is wrong."""
        member = await factories.member()

        async def fail(_token: str) -> None:
            raise db.UNAVAILABLE_ERRORS[0]("refused")

        monkeypatch.setattr(logins, "authenticate", fail)
        assert (await client.get("/", auth=member)).status_code == 200
        response = await client.get("/v1/users/me", auth=member)
        assert_problem(response, 503, "database-unavailable")
