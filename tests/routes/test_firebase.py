"""Signing in with ID tokens of Firebase, over HTTP."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from jose import jwt

from config.remote_keys import RemoteKeys
from models.audit import AuditAction
from models.base import utc_now
from models.one_time_tokens import Purpose
from tests import factories, firebase
from tests.mailbox import collect
from tests.problems import assert_problem
from utils import attempts, users

Client = httpx.AsyncClient


@pytest.fixture(name="server")
def _server() -> Iterator[firebase.KeyServer]:
    with firebase.key_server() as server:
        yield server


@pytest.fixture(name="project", autouse=True)
async def _project(server: firebase.KeyServer) -> AsyncIterator[None]:
    async with aclosing(RemoteKeys(server.url)) as keys:
        with firebase.signing_in(keys):
            yield


@pytest.fixture(name="one_window", autouse=True)
def _one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    now = utc_now()
    monkeypatch.setattr(attempts, "utc_now", lambda: now)
    monkeypatch.setattr(attempts, "_SLOWEST_SECONDS", 0.0)


async def _send(client: Client, id_token: str) -> httpx.Response:
    return await client.post("/v1/auth/firebase", json={"id_token": id_token})


async def _sign_in(client: Client, **claims: Any) -> dict[str, Any]:
    """The account of whoever signs in with these claims."""
    response = await _send(client, firebase.id_token(**claims))
    assert response.status_code == 200, response.text
    headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
    me: dict[str, Any] = (
        await client.get("/v1/users/me", headers=headers)
    ).json()
    return me


async def _verified(client: Client, **overrides: Any) -> factories.Member:
    """A member whose e-mail is."""
    member = await factories.member(**overrides)
    proof = await factories.token(member, Purpose.EMAIL_VERIFICATION)
    response = await client.post("/v1/auth/verify-email", json={"token": proof})
    assert response.status_code == 204
    return member


class TestFirstTime:
    async def test_makes_a_member(self, client: Client) -> None:
        claims = firebase.claims()
        me = await _sign_in(client, **claims)
        assert me["email"] == claims["email"]
        assert me["email_verified"] is True
        assert (me["first_name"], me["last_name"]) == ("Ada", "Lovelace")
        assert (await _sign_in(client, **claims))["id"] == me["id"]

    async def test_an_e_mail_that_is_not_verified(
        self, client: Client, tmp_path: Path
    ) -> None:
        me = await _sign_in(client, email_verified=False)
        assert me["email_verified"] is False
        [mail] = await collect(tmp_path)
        assert "verify-email" in str(mail.get_body())

    async def test_a_verified_one_is_welcomed(
        self, client: Client, tmp_path: Path
    ) -> None:
        await _sign_in(client)
        [mail] = await collect(tmp_path)
        assert "verify-email" not in str(mail.get_body())

    @pytest.mark.parametrize(
        ("name", "names"),
        [
            ("Ada King Lovelace", ("Ada", "King Lovelace")),
            ("李", ("李", "Member")),
            ("x" * 80, ("x" * 64, "Member")),
            ("\u202e42 7", ("ada", "Member")),
            ("", ("ada", "Member")),
            (None, ("ada", "Member")),
            (7, ("ada", "Member")),
        ],
    )
    async def test_names(
        self, client: Client, name: object, names: tuple[str, str]
    ) -> None:
        me = await _sign_in(client, name=name, email="ada@example.org")
        assert (me["first_name"], me["last_name"]) == names

    async def test_nobody_knows_the_password(self, client: Client) -> None:
        me = await _sign_in(client)
        user = await users.get_user(me["id"])
        assert not await users.may_log_in(user, "")
        form = {"username": me["email"], "password": factories.PASSWORD}
        response = await client.post("/v1/auth/login", data=form)
        assert_problem(response, 401, "bad-credentials")

    async def test_is_written_down(self, client: Client) -> None:
        admin = await factories.admin()
        me = await _sign_in(client)
        page = await client.get(
            "/v1/audit", params={"target": me["id"]}, auth=admin
        )
        actions = {entry["action"] for entry in page.json()["items"]}
        assert actions == {
            AuditAction.MEMBER_REGISTERED,
            AuditAction.LOGIN_CREATED,
        }

    async def test_two_at_once(self, client: Client, turns: None) -> None:
        del turns
        claims = firebase.claims()
        found = await asyncio.gather(
            *(_sign_in(client, **claims) for _ in range(6))
        )
        assert len({me["id"] for me in found}) == 1

    async def test_is_in_the_export(self, client: Client) -> None:
        claims = firebase.claims()
        login = await _send(client, firebase.id_token(**claims))
        token = login.json()["access_token"]
        export = await client.get(
            "/v1/users/me/export",
            headers={"Authorization": f"Bearer {token}"},
        )
        assert export.json()["firebase_id"] == claims["sub"]


class TestLink:
    async def test_both_verified(self, client: Client) -> None:
        member = await _verified(client, email="ada@example.org")
        me = await _sign_in(client, email="Ada@Example.org")
        assert me["id"] == member.user.id
        login = await client.post(
            "/v1/auth/login",
            data={
                "username": "ada@example.org",
                "password": factories.PASSWORD,
            },
        )
        assert login.status_code == 200

    async def test_it_stays_when_the_e_mail_changes(
        self, client: Client
    ) -> None:
        member = await _verified(client)
        claims = firebase.claims(email=member.user.email)
        await _sign_in(client, **claims)
        other = firebase.claims()["email"]
        me = await _sign_in(client, **claims | {"email": other})
        assert me["id"] == member.user.id
        assert me["email"] == member.user.email

    async def test_not_verified_at_firebase(self, client: Client) -> None:
        """Whoever names another's e-mail there does not come in here."""
        member = await _verified(client)
        token = firebase.id_token(
            email=member.user.email, email_verified=False
        )
        assert_problem(await _send(client, token), 409, "email-taken")

    @pytest.mark.parametrize("said", ["true", "false", 1, None])
    async def test_only_true_is_a_proof(
        self, client: Client, said: object
    ) -> None:
        member = await _verified(client)
        token = firebase.id_token(email=member.user.email, email_verified=said)
        assert_problem(await _send(client, token), 409, "email-taken")

    async def test_not_verified_here(self, client: Client) -> None:
        """Whoever registered another's e-mail here does not keep it."""
        thief = await factories.member()
        token = firebase.id_token(email=thief.user.email)
        problem = assert_problem(
            await _send(client, token), 409, "email-taken"
        )
        assert "password-reset" in problem["detail"]
        await _reset(client, thief)
        me = await _sign_in(client, **jwt.get_unverified_claims(token))
        assert me["id"] == thief.user.id
        refused = await client.get("/v1/auth/validate", auth=thief)
        assert_problem(refused, 401, "not-authenticated")

    async def test_a_reset_throws_out_who_came_first(
        self, client: Client
    ) -> None:
        """Whoever named another's e-mail at Firebase does not keep it."""
        claims = firebase.claims(email_verified=False)
        me = await _sign_in(client, **claims)
        user = await users.get_user(me["id"])
        await _reset(client, replace(await factories.member(), user=user))
        response = await _send(client, firebase.id_token(**claims))
        assert_problem(response, 409, "email-taken")
        rightful = firebase.claims(email=claims["email"])
        assert (await _sign_in(client, **rightful))["id"] == me["id"]

    async def test_is_written_down(self, client: Client) -> None:
        member, admin = await _verified(client), await factories.admin()
        await _sign_in(client, email=member.user.email)
        page = await client.get(
            "/v1/audit",
            params={"action": AuditAction.FIREBASE_LINKED},
            auth=admin,
        )
        [entry] = page.json()["items"]
        assert entry["target_id"] == member.user.id


async def _reset(client: Client, member: factories.Member) -> None:
    proof = await factories.token(member, Purpose.PASSWORD_RESET)
    body = {"token": proof, "new_password": "another long one"}
    response = await client.post("/v1/auth/password-reset", json=body)
    assert response.status_code == 204


def _part(value: dict[str, Any]) -> str:
    text = base64.urlsafe_b64encode(json.dumps(value).encode())
    return text.rstrip(b"=").decode()


def _unsigned() -> str:
    header = {"alg": "none", "kid": "first"}
    return f"{_part(header)}.{_part(firebase.claims())}."


def _signed_with_the_public_key() -> str:
    # The library refuses to, so it is done by hand.
    header = {"alg": "HS256", "kid": "first"}
    message = f"{_part(header)}.{_part(firebase.claims())}"
    secret = firebase.public_pem().encode()
    digest = hmac.new(secret, message.encode(), hashlib.sha256).digest()
    signature = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return f"{message}.{signature}"


# 1970 and 2100.
LONG_AGO = 1
FAR_AHEAD = 4_102_444_800


class TestRefused:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"aud": "another-project"},
            {"aud": [firebase.PROJECT, "another-project"]},
            {"iss": "https://securetoken.google.com/another-project"},
            {"iss": f"https://evil.example.org/{firebase.PROJECT}"},
            {"exp": LONG_AGO},
            {"iat": FAR_AHEAD},
            {"auth_time": FAR_AHEAD},
            {"auth_time": "yesterday"},
            {"sub": ""},
            {"sub": "x" * 129},
            *({name: None} for name in ("aud", "iss", "exp", "iat", "sub")),
            {"auth_time": None},
            {"kid": None},
            {"kid": "unknown"},
            {"number": 1},
        ],
        ids=str,
    )
    async def test_claims(self, client: Client, wrong: dict[str, Any]) -> None:
        response = await _send(client, firebase.id_token(**wrong))
        assert_problem(response, 401, "bad-credentials")

    @pytest.mark.parametrize(
        "token",
        ["x", "a.b.c", "..", "ä.ö.ü", f"{'[' * 3000}.x.y"],
    )
    async def test_garbage(self, client: Client, token: str) -> None:
        assert_problem(await _send(client, token), 401, "bad-credentials")

    async def test_other_algorithms(self, client: Client) -> None:
        hs256 = _signed_with_the_public_key()
        for token in (_unsigned(), hs256):
            assert_problem(await _send(client, token), 401, "bad-credentials")

    async def test_our_own_access_token(self, client: Client) -> None:
        member = await factories.member()
        response = await _send(client, member.tokens.access_token)
        assert_problem(response, 401, "bad-credentials")

    async def test_a_changed_claim(self, client: Client) -> None:
        head, _, signature = firebase.id_token().split(".")
        token = f"{head}.{_part(firebase.claims())}.{signature}"
        assert_problem(await _send(client, token), 401, "bad-credentials")

    @pytest.mark.parametrize("email", [None, "", "x", 7])
    async def test_without_an_e_mail(
        self, client: Client, email: object
    ) -> None:
        response = await _send(client, firebase.id_token(email=email))
        assert_problem(response, 422, "invalid-request")

    async def test_disabled(self, client: Client) -> None:
        admin, claims = await factories.admin(), firebase.claims()
        me = await _sign_in(client, **claims)
        await client.patch(
            f"/v1/users/{me['id']}", json={"disabled": True}, auth=admin
        )
        response = await _send(client, firebase.id_token(**claims))
        assert_problem(response, 401, "bad-credentials")

    async def test_too_many(self, client: Client) -> None:
        for _ in range(10):
            assert_problem(await _send(client, "x"), 401, "bad-credentials")
        assert_problem(await _send(client, "x"), 429, "too-many-attempts")
        # A good one is no guess.
        await _sign_in(client)

    async def test_where_it_is_not_configured(
        self, client: Client, server: firebase.KeyServer
    ) -> None:
        keys = RemoteKeys(server.url)
        with firebase.signing_in(keys, project_id=None):
            response = await _send(client, firebase.id_token())
        assert_problem(response, 404, "not-found")
        assert server.fetches == 0


class TestKeys:
    async def test_fifty_at_once(
        self, client: Client, server: firebase.KeyServer
    ) -> None:
        server.slow_seconds = 0.2
        # One user, so that no passwords are hashed.
        claims = firebase.claims()
        await _sign_in(client, **claims)
        async with aclosing(RemoteKeys(server.url)) as keys:
            with firebase.signing_in(keys):
                responses = await asyncio.gather(
                    *(
                        _send(client, firebase.id_token(**claims))
                        for _ in range(50)
                    )
                )
        assert {response.status_code for response in responses} == {200}
        assert server.fetches == 2

    async def test_server_away(
        self, client: Client, server: firebase.KeyServer
    ) -> None:
        server.status = 500
        response = await _send(client, firebase.id_token())
        assert_problem(response, 503, "keys-unavailable")
        assert response.headers["retry-after"] == "5"
