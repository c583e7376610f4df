"""Logging in and out over HTTP."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from jose import jwt

from config import db
from config.main import JWT_SECRET_KEY, settings
from models.base import new_id, utc_now
from tests import factories
from tests.commands import counted
from tests.problems import assert_problem
from utils import attempts, passwords
from utils import tokens as signed

Client = httpx.AsyncClient


async def _log_in(client: Client, email: str, password: str) -> httpx.Response:
    form = {"username": email, "password": password}
    return await client.post("/v1/auth/login", data=form)


async def _refresh(
    client: Client, refresh_token: str, key: str | None = None
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    body = {"refresh_token": refresh_token}
    return await client.post("/v1/auth/refresh", json=body, headers=headers)


async def _is_signed_in(client: Client, access_token: str) -> bool:
    headers = {"Authorization": f"Bearer {access_token}"}
    response = await client.get("/v1/auth/validate", headers=headers)
    assert response.status_code in (204, 401)
    return response.status_code == 204


@pytest.fixture(name="one_window")
def _one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """No quarter of an hour ends, and begins to count anew, within a test."""
    now = utc_now()
    monkeypatch.setattr(attempts, "utc_now", lambda: now)
    monkeypatch.setattr(attempts, "_SLOWEST_SECONDS", 0.0)


class TestLogIn:
    async def test_gives_tokens_that_work(self, client: Client) -> None:
        member = await factories.member(email="ada@example.org")
        response = await _log_in(client, "Ada@Example.ORG", factories.PASSWORD)
        assert response.status_code == 200
        tokens = response.json()
        assert tokens["token_type"] == "bearer"
        assert tokens["expires_in"] == 15 * 60
        me = await client.get(
            "/v1/users/me",
            headers={"Authorization": f"Bearer {tokens['access_token']}"},
        )
        assert me.json()["id"] == member.user.id

    @pytest.mark.usefixtures("database")
    async def test_claims(self) -> None:
        member = await factories.member()
        claims = jwt.get_unverified_claims(member.tokens.access_token)
        assert set(claims) == {
            "sub", "sid", "iat", "exp", "iss", "aud", "jti"
        }  # fmt: skip
        assert claims["sub"] == member.user.id
        assert claims["sid"] == member.actor.login_id

    async def test_unknown_and_wrong_answer_alike(self, client: Client) -> None:
        member = await factories.member()
        wrong = await _log_in(client, member.user.email, "wrong password")
        unknown = await _log_in(client, "nobody@example.org", "wrong password")
        problems = [
            assert_problem(response, 401, "bad-credentials")
            for response in (wrong, unknown)
        ]
        for problem in problems:
            del problem["request_id"]
        assert problems[0] == problems[1]

    @pytest.mark.usefixtures("costly_passwords")
    async def test_unknown_and_wrong_cost_alike(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verified: list[str] = []
        member = await factories.member()
        hasher = passwords._HASHER  # pylint: disable=protected-access

        class Spy:
            def verify(self, password: str, password_hash: str) -> bool:
                verified.append(password_hash)
                return hasher.verify(password, password_hash)

        monkeypatch.setattr(passwords, "_HASHER", Spy())
        with counted() as wrong:
            await _log_in(client, member.user.email, "wrong password")
        with counted() as unknown:
            await _log_in(client, "nobody@example.org", "wrong password")
        assert wrong == unknown
        assert len(verified) == 2
        # The same parameters make the same cost.
        for password_hash in verified:
            assert password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")

    async def test_disabled(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        await client.patch(
            f"/v1/users/{member.user.id}", json={"disabled": True}, auth=admin
        )
        response = await _log_in(client, member.user.email, factories.PASSWORD)
        assert_problem(response, 401, "bad-credentials")

    @pytest.mark.usefixtures("one_window")
    async def test_too_many_failures(self, client: Client) -> None:
        email = (await factories.member()).user.email
        for _ in range(10):
            failed = await _log_in(client, email, "wrong password")
            assert_problem(failed, 401, "bad-credentials")
        refused = await _log_in(client, email, factories.PASSWORD)
        problem = assert_problem(refused, 429, "too-many-attempts")
        seconds = problem["retry_after_seconds"]
        assert 0 < seconds <= 15 * 60
        assert refused.headers["retry-after"] == str(seconds)

    @pytest.mark.usefixtures("one_window")
    async def test_a_stranger_locks_nobody_out(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What one address does beyond its limit counts for that one only."""
        monkeypatch.setattr(attempts, "_LIMIT_BY_SUBJECT", 15)
        email = (await factories.member()).user.email
        for n in range(30):
            await _log_in(client, email, f"wrong {n}")
        monkeypatch.setattr("routes.auth.client_address", lambda _: "1.1.1.1")
        login = await _log_in(client, email, factories.PASSWORD)
        assert login.status_code == 200

    @pytest.mark.usefixtures("one_window")
    async def test_guessing_from_many_addresses_is_limited(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(attempts, "_LIMIT_BY_SUBJECT", 15)
        email = (await factories.member()).user.email
        statuses = []
        for n in range(18):
            monkeypatch.setattr(
                "routes.auth.client_address", lambda _, n=n: f"10.0.0.{n}"
            )
            response = await _log_in(client, email, "wrong password")
            statuses.append(response.status_code)
        assert statuses == [401] * 15 + [429] * 3

    @pytest.mark.usefixtures("one_window")
    async def test_racing_failures_are_all_counted(
        self, client: Client
    ) -> None:
        email = (await factories.member()).user.email
        racing = [_log_in(client, email, f"wrong {n}") for n in range(30)]
        responses = await asyncio.gather(*racing)
        statuses = [response.status_code for response in responses]
        assert set(statuses) <= {401, 429}
        assert statuses.count(401) <= 10
        refused = await _log_in(client, email, factories.PASSWORD)
        assert_problem(refused, 429, "too-many-attempts")

    async def test_success_takes_failures_back(self, client: Client) -> None:
        member = await factories.member()
        for _ in range(4):
            for password in ("wrong password", factories.PASSWORD):
                await _log_in(client, member.user.email, password)
        response = await _log_in(client, member.user.email, factories.PASSWORD)
        assert response.status_code == 200

    async def test_failures_slow_down(self) -> None:
        # pylint: disable-next=protected-access  # the waiting takes too long
        delays = [attempts._delay(count) for count in range(1, 11)]
        assert delays[:3] == [0, 0, 0]
        assert delays[3:] == sorted(delays[3:])
        assert delays[3] > 0
        assert delays[-1] == 2.0

    @pytest.mark.parametrize(
        "form",
        [
            {},
            {"username": "ada@example.org"},
            {"username": "ada@example.org", "password": "x", "more": "1"},
            {"username": "a" * 255, "password": "x"},
            {"username": "a@b.c", "password": "x", "grant_type": "implicit"},
        ],
    )
    async def test_invalid(self, client: Client, form: dict[str, str]) -> None:
        response = await client.post("/v1/auth/login", data=form)
        assert_problem(response, 422, "invalid-request")

    async def test_json_is_no_form(self, client: Client) -> None:
        body = {"username": "ada@example.org", "password": "x"}
        response = await client.post("/v1/auth/login", json=body)
        problem = assert_problem(response, 415, "unsupported-media-type")
        assert "x-www-form-urlencoded" in problem["detail"]


class TestAccessToken:
    """Tokens that were not made here, now, for us are refused."""

    @pytest.mark.parametrize(
        "change",
        [
            {"iss": "somebody"},
            {"aud": "somebody"},
            {"exp": utc_now() - timedelta(seconds=1)},
            {"sid": new_id()},
            {"sid": {"$ne": None}},
            {"exp": None},
            {"iss": None},
            {"aud": None},
            {"sub": None},
            {"iat": None},
            {"jti": None},
            {"sid": None},
        ],
    )
    async def test_other_claims(
        self, client: Client, change: dict[str, Any]
    ) -> None:
        member = await factories.member()
        claims = jwt.get_unverified_claims(member.tokens.access_token) | change
        claims = {name: value for name, value in claims.items() if value}
        token = jwt.encode(claims, JWT_SECRET_KEY, algorithm="HS256")
        assert not await _is_signed_in(client, token)

    async def test_unchanged_claims_are_accepted(self, client: Client) -> None:
        # Else the test above could not fail.
        member = await factories.member()
        claims = jwt.get_unverified_claims(member.tokens.access_token)
        token = jwt.encode(claims, JWT_SECRET_KEY, algorithm="HS256")
        assert await _is_signed_in(client, token)

    async def test_ends_though_it_was_good(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        member = await factories.member()
        token = member.tokens.access_token
        assert await _is_signed_in(client, token)
        ends_at = jwt.get_unverified_claims(token)["exp"]
        for moment, is_good in ((ends_at - 1, True), (ends_at, False)):
            now = datetime.fromtimestamp(moment, UTC)
            monkeypatch.setattr(signed, "utc_now", lambda now=now: now)
            assert await _is_signed_in(client, token) == is_good

    @pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
    async def test_other_algorithm(
        self, client: Client, algorithm: str
    ) -> None:
        member = await factories.member()
        claims = jwt.get_unverified_claims(member.tokens.access_token)
        token = jwt.encode(claims, JWT_SECRET_KEY, algorithm=algorithm)
        assert not await _is_signed_in(client, token)

    async def test_no_algorithm(self, client: Client) -> None:
        member = await factories.member()
        _, claims, signature = member.tokens.access_token.split(".")
        # {"alg":"none","typ":"JWT"}
        header = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"
        for forged in (f"{header}.{claims}.", f"{header}.{claims}.{signature}"):
            assert not await _is_signed_in(client, forged)

    async def test_tampered(self, client: Client) -> None:
        member = await factories.member()
        header, claims, signature = member.tokens.access_token.split(".")
        flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
        for forged in (
            f"{header}.{claims}.{flipped}",
            f"{header}.{claims[:-2]}.{signature}",
            f"{header}.{claims}",
            "",
            "x.y.z",
            # Header and claims that nest too deep to be read.
            f"{'W1tb' * 200}.e30.AAAA",
            f"{'W1tb' * 10_000}.e30.AAAA",
        ):
            assert not await _is_signed_in(client, forged)

    async def test_other_scheme(self, client: Client) -> None:
        headers = {"Authorization": "Basic YTpi"}
        for path in ("/v1/auth/validate", "/v1/events"):
            response = await client.get(path, headers=headers)
            assert_problem(response, 401, "not-authenticated")

    async def test_costs_one_read(self, client: Client) -> None:
        member = await factories.member()
        with counted() as commands:
            await client.get("/v1/auth/validate", auth=member)
        assert commands == ["find"]


class TestRefresh:
    async def test_rotates(self, client: Client) -> None:
        member = await factories.member()
        response = await _refresh(client, member.tokens.refresh_token)
        assert response.status_code == 200
        fresh = response.json()
        assert fresh["refresh_token"] != member.tokens.refresh_token
        assert await _is_signed_in(client, fresh["access_token"])
        assert await _is_signed_in(client, member.tokens.access_token)

    async def test_reuse_ends_the_login(self, client: Client) -> None:
        member = await factories.member()
        fresh = (await _refresh(client, member.tokens.refresh_token)).json()
        reuse = await _refresh(client, member.tokens.refresh_token)
        assert_problem(reuse, 401, "not-authenticated")
        assert not await _is_signed_in(client, fresh["access_token"])
        again = await _refresh(client, fresh["refresh_token"])
        assert_problem(again, 401, "not-authenticated")

    async def test_two_at_once(self, client: Client) -> None:
        for _ in range(10):
            member = await factories.member()
            token = member.tokens.refresh_token
            responses = await asyncio.gather(
                _refresh(client, token), _refresh(client, token)
            )
            statuses = sorted(response.status_code for response in responses)
            assert statuses == [200, 401]
            winner = min(responses, key=lambda answer: answer.status_code)
            won = winner.json()["access_token"]
            assert not await _is_signed_in(client, won)

    async def test_retry_with_the_same_key(self, client: Client) -> None:
        member = await factories.member()
        old = member.tokens.refresh_token
        first, second = await asyncio.gather(
            _refresh(client, old, "k"), _refresh(client, old, "k")
        )
        third = await _refresh(client, old, "k")
        tokens = {
            response.json()["refresh_token"]
            for response in (first, second, third)
        }
        assert len(tokens) == 1
        assert await _is_signed_in(client, third.json()["access_token"])

    async def test_retry_with_another_key(self, client: Client) -> None:
        member = await factories.member()
        old = member.tokens.refresh_token
        await _refresh(client, old, "k")
        assert_problem(
            await _refresh(client, old, "l"), 401, "not-authenticated"
        )

    async def test_retry_after_the_next_refresh(self, client: Client) -> None:
        member = await factories.member()
        old = member.tokens.refresh_token
        fresh = (await _refresh(client, old, "k")).json()["refresh_token"]
        await _refresh(client, fresh, "l")
        assert_problem(
            await _refresh(client, old, "k"), 401, "not-authenticated"
        )

    async def test_forged_token_ends_nothing(self, client: Client) -> None:
        member = await factories.member()
        login_id, family, secret = member.tokens.refresh_token.split(".")
        for forged in (
            f"{login_id}.x.{secret}",
            f"{new_id()}.{family}.{secret}",
            f"{login_id}.{family}",
            "x",
        ):
            response = await _refresh(client, forged)
            assert_problem(response, 401, "not-authenticated")
        assert await _is_signed_in(client, member.tokens.access_token)

    @pytest.mark.usefixtures("database")
    async def test_is_stored_hashed(self) -> None:
        member = await factories.member()
        stored = str(
            await db.get_client()[settings.mongo_db_name]["logins"].find_one()
        )
        for secret in member.tokens.refresh_token.split(".")[1:]:
            assert secret not in stored


class TestLogOut:
    async def test_ends_this_login_only(self, client: Client) -> None:
        member = await factories.member()
        other = (
            await _log_in(client, member.user.email, factories.PASSWORD)
        ).json()
        response = await client.post("/v1/auth/logout", auth=member)
        assert response.status_code == 204
        assert not await _is_signed_in(client, member.tokens.access_token)
        assert await _is_signed_in(client, other["access_token"])
        refresh = await _refresh(client, member.tokens.refresh_token)
        assert_problem(refresh, 401, "not-authenticated")

    async def test_everywhere(self, client: Client) -> None:
        member, stranger = await factories.member(), await factories.member()
        other = (
            await _log_in(client, member.user.email, factories.PASSWORD)
        ).json()
        await client.post("/v1/auth/logout-all", auth=member)
        for token in (member.tokens.access_token, other["access_token"]):
            assert not await _is_signed_in(client, token)
        assert await _is_signed_in(client, stranger.tokens.access_token)

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/v1/auth/logout"),
            ("POST", "/v1/auth/logout-all"),
            ("GET", "/v1/auth/validate"),
            ("GET", "/v1/auth/logins"),
            ("DELETE", f"/v1/auth/logins/{factories.UNKNOWN_ID}"),
        ],
    )
    async def test_needs_a_login(
        self, client: Client, method: str, path: str
    ) -> None:
        response = await client.request(method, path)
        assert_problem(response, 401, "not-authenticated")


class TestLogins:
    async def test_list(self, client: Client) -> None:
        member = await factories.member()
        await client.post(
            "/v1/auth/login",
            data={
                "username": member.user.email,
                "password": factories.PASSWORD,
            },
            headers={"User-Agent": "a phone"},
        )
        response = await client.get("/v1/auth/logins", auth=member)
        logins = response.json()["items"]
        assert [(login["client"], login["current"]) for login in logins] == [
            ("a phone", False),
            ("test", True),
        ]

    async def test_revoke_one(self, client: Client) -> None:
        member = await factories.member()
        path = f"/v1/auth/logins/{member.actor.login_id}"
        response = await client.delete(path, auth=member)
        assert response.status_code == 204
        assert not await _is_signed_in(client, member.tokens.access_token)

    async def test_not_your_own(self, client: Client) -> None:
        member, stranger = await factories.member(), await factories.member()
        path = f"/v1/auth/logins/{member.actor.login_id}"
        response = await client.delete(path, auth=stranger)
        assert_problem(response, 404, "login-not-found")
        assert await _is_signed_in(client, member.tokens.access_token)

    async def test_malformed_id(self, client: Client) -> None:
        member = await factories.member()
        response = await client.delete("/v1/auth/logins/x", auth=member)
        assert_problem(response, 422, "invalid-request")
