"""What mails prove over HTTP: verification and password reset."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextvars import Context
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest

from config import db, transactions
from config.main import settings
from models.audit import AuditAction
from models.base import new_id, utc_now
from models.one_time_tokens import PasswordReset, Purpose
from tests import factories
from tests.commands import counted
from tests.mailbox import collect, text_of, token_in
from tests.problems import assert_problem
from utils import accounts, logins, one_time_tokens

Client = httpx.AsyncClient

VERIFY = "/v1/auth/verify-email"
RESET = "/v1/auth/password-reset"
NEW = "battery staple correct"


@pytest.fixture(name="now", autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[timedelta]]:
    """Moves the clock of accounts and tokens: `now[0] = …`."""
    begin, moved = utc_now(), [timedelta()]
    for module in (accounts, one_time_tokens):
        monkeypatch.setattr(module, "utc_now", lambda: begin + moved[0])
    yield moved


async def _ask(client: Client, email: str) -> httpx.Response:
    return await client.post(f"{RESET}/request", json={"email": email})


async def _reset(
    client: Client, token: str, password: str = NEW
) -> httpx.Response:
    body = {"token": token, "new_password": password}
    return await client.post(RESET, json=body)


async def _verify(client: Client, token: str) -> httpx.Response:
    return await client.post(VERIFY, json={"token": token})


async def _register(client: Client, **overrides: Any) -> dict[str, str]:
    body = factories.registration(**overrides)
    response = await client.post("/v1/users", json=body)
    assert response.status_code == 201
    assert response.json()["email_verified"] is False
    return body


async def _log_in(client: Client, email: str, password: str) -> httpx.Response:
    form = {"username": email, "password": password}
    return await client.post("/v1/auth/login", data=form)


async def _me(client: Client, member: factories.Member) -> dict[str, Any]:
    response = await client.get("/v1/users/me", auth=member)
    body: dict[str, Any] = response.json()
    return body


def _to(messages: list[EmailMessage], email: str) -> list[EmailMessage]:
    return [message for message in messages if message["To"] == email]


async def _deeds(user_id: str) -> list[str]:
    found = db.get_client()[settings.mongo_db_name]["audit"].find(
        {"target_id": user_id}
    )
    deeds = [entry["action"] for entry in await found.sort("at").to_list()]
    return [deed for deed in deeds if not deed.startswith("login.")]


async def _reset_token(
    client: Client, folder: Path, member: factories.Member
) -> str:
    await _ask(client, member.user.email)
    messages = await collect(folder)
    (message,) = [m for m in messages if "new_password" in text_of(m)]
    return token_in(message)


class TestRegistration:
    async def test_brings_a_mail_that_verifies(
        self, client: Client, tmp_path: Path
    ) -> None:
        body = await _register(client)
        (message,) = await collect(tmp_path)
        assert message["To"] == body["email"]
        response = await _verify(client, token_in(message))
        assert response.status_code == 204 and response.content == b""
        login = await _log_in(client, body["email"], body["password"])
        headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
        me = (await client.get("/v1/users/me", headers=headers)).json()
        assert me["email_verified"] is True
        messages = _to(await collect(tmp_path), body["email"])
        subjects = {message["Subject"] for message in messages}
        assert subjects == {"Confirm your e-mail address", "Welcome"}
        assert await _deeds(me["id"]) == [
            AuditAction.MEMBER_REGISTERED,
            AuditAction.EMAIL_VERIFIED,
        ]

    async def test_that_fails_sends_nothing(
        self, client: Client, tmp_path: Path
    ) -> None:
        body = await _register(client)
        again = await client.post("/v1/users", json=body)
        assert_problem(again, 409, "email-taken")
        assert len(await collect(tmp_path)) == 1


class TestVerification:
    async def test_ask_again(
        self, client: Client, tmp_path: Path, now: list[timedelta]
    ) -> None:
        member = await factories.member()
        for _ in range(3):
            response = await client.post(f"{VERIFY}/request", auth=member)
            assert response.status_code == 202 and response.content == b""
        assert len(await collect(tmp_path)) == 1
        now[0] = timedelta(minutes=5)
        await client.post(f"{VERIFY}/request", auth=member)
        assert len(await collect(tmp_path)) == 2

    async def test_nothing_is_left_to_verify(
        self, client: Client, tmp_path: Path
    ) -> None:
        member = await factories.member()
        token = await factories.token(member, Purpose.EMAIL_VERIFICATION)
        await _verify(client, token)
        response = await client.post(f"{VERIFY}/request", auth=member)
        assert response.status_code == 202
        subjects = [m["Subject"] for m in await collect(tmp_path)]
        assert subjects == ["Welcome"]

    async def test_verified_before_the_mail_is_sent(
        self, client: Client, tmp_path: Path
    ) -> None:
        member = await factories.member()
        await client.post(f"{VERIFY}/request", auth=member)
        token = await factories.token(member, Purpose.EMAIL_VERIFICATION)
        await _verify(client, token)
        subjects = [m["Subject"] for m in await collect(tmp_path)]
        assert subjects == ["Welcome"]

    async def test_needs_a_login(self, client: Client) -> None:
        response = await client.post(f"{VERIFY}/request")
        assert_problem(response, 401, "not-authenticated")

    async def test_new_email_is_verified_anew(
        self, client: Client, tmp_path: Path
    ) -> None:
        member = await factories.member()
        old = await factories.token(member, Purpose.EMAIL_VERIFICATION)
        await _verify(client, old)
        unused = await factories.token(member, Purpose.EMAIL_VERIFICATION)
        change = {
            "email": factories.registration()["email"],
            "current_password": factories.PASSWORD,
        }
        changed = await client.patch("/v1/users/me", json=change, auth=member)
        assert changed.json()["email_verified"] is False
        assert_problem(await _verify(client, unused), 422, "invalid-token")
        assert not (await _me(client, member))["email_verified"]
        messages = _to(await collect(tmp_path), change["email"])
        (message,) = [m for m in messages if m["Subject"] != "Welcome"]
        assert (await _verify(client, token_in(message))).status_code == 204
        assert (await _me(client, member))["email_verified"]
        # Nobody is welcomed twice.
        assert len(await collect(tmp_path)) == 2
        assert await _deeds(member.user.id) == [
            AuditAction.EMAIL_VERIFIED,
            AuditAction.EMAIL_CHANGED,
            AuditAction.EMAIL_VERIFIED,
        ]

    async def test_other_letter_case_is_the_same_email(
        self, client: Client, tmp_path: Path
    ) -> None:
        member = await factories.member(email="ada@example.org")
        token = await factories.token(member, Purpose.EMAIL_VERIFICATION)
        await _verify(client, token)
        change = {
            "email": "Ada@example.org",
            "current_password": factories.PASSWORD,
        }
        changed = await client.patch("/v1/users/me", json=change, auth=member)
        assert changed.json()["email_verified"] is True
        assert len(await collect(tmp_path)) == 1


class TestTokens:
    @pytest.mark.parametrize("purpose", Purpose)
    async def test_one_of_racing_redeemers(
        self, client: Client, purpose: Purpose
    ) -> None:
        member = await factories.member()
        token = await factories.token(member, purpose)
        racing = [
            _verify(client, token)
            if purpose is Purpose.EMAIL_VERIFICATION
            else _reset(client, token, f"a long one {n}")
            for n in range(8)
        ]
        responses = await asyncio.gather(*racing)
        statuses = sorted(response.status_code for response in responses)
        assert statuses == [204] + [422] * 7

    @pytest.mark.parametrize(
        ("purpose", "life"),
        [
            (Purpose.EMAIL_VERIFICATION, timedelta(hours=48)),
            (Purpose.PASSWORD_RESET, timedelta(hours=1)),
        ],
    )
    async def test_expire(
        self,
        client: Client,
        now: list[timedelta],
        purpose: Purpose,
        life: timedelta,
    ) -> None:
        member = await factories.member()
        redeem = _verify if purpose is Purpose.EMAIL_VERIFICATION else _reset
        late, early = [await factories.token(member, purpose) for _ in "ab"]
        now[0] = life + timedelta(seconds=5)
        assert_problem(await redeem(client, late), 422, "invalid-token")
        now[0] = life - timedelta(seconds=5)
        assert (await redeem(client, early)).status_code == 204

    async def test_for_the_other_purpose(self, client: Client) -> None:
        member = await factories.member()
        verifies = await factories.token(member, Purpose.EMAIL_VERIFICATION)
        resets = await factories.token(member, Purpose.PASSWORD_RESET)
        assert_problem(await _reset(client, verifies), 422, "invalid-token")
        assert_problem(await _verify(client, resets), 422, "invalid-token")
        assert (await _verify(client, verifies)).status_code == 204

    async def test_forged(self, client: Client) -> None:
        member = await factories.member()
        token = await factories.token(member, Purpose.EMAIL_VERIFICATION)
        mail_id, _, secret = token.partition(".")
        for forged in (
            "x",
            mail_id,
            secret,
            f"{new_id()}.{secret}",
            token[:-1],
        ):
            assert_problem(await _verify(client, forged), 422, "invalid-token")

    async def test_are_stored_hashed(
        self, client: Client, tmp_path: Path
    ) -> None:
        await _register(client, email="ada@example.org")
        await _ask(client, "ada@example.org")
        tokens = [token_in(m) for m in await collect(tmp_path)]
        assert len(tokens) == 2
        database = db.get_client()[settings.mongo_db_name]
        stored = ""
        for name in await database.list_collection_names():
            stored += str(await database[name].find().to_list())
        assert "ada@example.org" in stored
        for token in tokens:
            assert token.partition(".")[2] not in stored

    @pytest.mark.parametrize("path", [VERIFY, RESET])
    @pytest.mark.parametrize("token", ["", "x" * 201, None])
    async def test_malformed(
        self, client: Client, path: str, token: str | None
    ) -> None:
        body = {"token": token, "new_password": NEW}
        response = await client.post(path, json=body)
        assert_problem(response, 422, "invalid-request")


class TestAskForReset:
    async def test_tells_nobody_who_is_registered(
        self, client: Client, tmp_path: Path
    ) -> None:
        member = await factories.member()
        answers, costs = [], []
        for email in (member.user.email, "nobody@example.org"):
            with counted() as commands:
                response = await _ask(client, email)
            headers = dict(response.headers)
            # Of these, each request has its own, whatever it asks for.
            del headers["x-request-id"], headers["ratelimit"]
            answers.append((response.status_code, response.content, headers))
            costs.append(commands)
        assert answers[0] == answers[1]
        assert answers[0][0] == 202
        assert costs[0] == costs[1] != []
        messages = await collect(tmp_path)
        assert [m["To"] for m in messages] == [member.user.email]

    async def test_asked_twice_costs_alike_too(self, client: Client) -> None:
        member = await factories.member()
        costs = []
        for email in (member.user.email, "nobody@example.org"):
            await _ask(client, email)
            with counted() as commands:
                await _ask(client, email)
            costs.append(commands)
        assert costs[0] == costs[1]

    async def test_one_mail_in_some_minutes(
        self, client: Client, tmp_path: Path, now: list[timedelta]
    ) -> None:
        email = (await factories.member(email="ada@example.org")).user.email
        spellings = [email, "ADA@example.org", "ada@EXAMPLE.ORG"] * 3
        responses = await asyncio.gather(
            *(_ask(client, spelling) for spelling in spellings)
        )
        assert {response.status_code for response in responses} == {202}
        assert len(await collect(tmp_path)) == 1
        now[0] = timedelta(minutes=5)
        await _ask(client, email)
        assert len(await collect(tmp_path)) == 2

    async def test_goes_to_the_registered_address(
        self, client: Client, tmp_path: Path
    ) -> None:
        """Not to one that normalises to the same, and may be a stranger's."""
        await factories.member(email="ada@example.org")
        await _ask(client, "\uff41da@example.org")
        messages = await collect(tmp_path)
        assert {m["To"] for m in messages} <= {"ada@example.org"}

    async def test_many_by_one_source(
        self, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(accounts, "_MOST_RESETS", 3)
        start = utc_now()
        monkeypatch.setattr("utils.attempts.utc_now", lambda: start)
        members = [await factories.member() for _ in range(5)]
        for member in members:
            response = await _ask(client, member.user.email)
            assert response.status_code == 202
        assert len(await collect(tmp_path)) == 3
        monkeypatch.setattr("routes.auth.client_address", lambda _: "1.1.1.1")
        await _ask(client, members[4].user.email)
        assert len(await collect(tmp_path)) == 4

    async def test_disabled_account(
        self, client: Client, tmp_path: Path
    ) -> None:
        member, admin = await factories.member(), await factories.admin()
        token = await factories.token(member, Purpose.PASSWORD_RESET)
        path = f"/v1/users/{member.user.id}"
        await client.patch(path, json={"disabled": True}, auth=admin)
        await _ask(client, member.user.email)
        assert await collect(tmp_path) == []
        assert_problem(await _reset(client, token), 422, "invalid-token")

    async def test_no_email(self, client: Client) -> None:
        response = await _ask(client, "nobody")
        assert_problem(response, 422, "invalid-request")


class TestReset:
    async def test_new_password_and_no_login(
        self, client: Client, tmp_path: Path
    ) -> None:
        member = await factories.member()
        email = member.user.email
        other = await _log_in(client, email, factories.PASSWORD)
        token = await _reset_token(client, tmp_path, member)
        response = await _reset(client, token)
        assert response.status_code == 204 and response.content == b""
        gone = await client.get("/v1/auth/validate", auth=member)
        assert_problem(gone, 401, "not-authenticated")
        refresh = {"refresh_token": other.json()["refresh_token"]}
        dead = await client.post("/v1/auth/refresh", json=refresh)
        assert_problem(dead, 401, "not-authenticated")
        old = await _log_in(client, email, factories.PASSWORD)
        assert_problem(old, 401, "bad-credentials")
        assert (await _log_in(client, email, NEW)).status_code == 200
        assert await _deeds(member.user.id) == [
            AuditAction.EMAIL_VERIFIED,
            AuditAction.PASSWORD_RESET,
        ]

    async def test_proves_the_email(
        self, client: Client, tmp_path: Path
    ) -> None:
        member = await factories.member()
        token = await _reset_token(client, tmp_path, member)
        await _reset(client, token)
        login = await _log_in(client, member.user.email, NEW)
        headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
        me = (await client.get("/v1/users/me", headers=headers)).json()
        assert me["email_verified"] is True

    async def test_refused_password_leaves_the_token_good(
        self, client: Client
    ) -> None:
        member = await factories.member()
        token = await factories.token(member, Purpose.PASSWORD_RESET)
        refused = await _reset(client, token, "1234567890")
        problem = assert_problem(refused, 422, "invalid-request")
        assert problem["errors"][0]["loc"] == ["body", "new_password"]
        assert "1234567890" not in refused.text
        assert (await _reset(client, token)).status_code == 204

    async def test_other_tokens_die_with_it(self, client: Client) -> None:
        member = await factories.member()
        one, two = [
            await factories.token(member, Purpose.PASSWORD_RESET) for _ in "ab"
        ]
        assert (await _reset(client, one)).status_code == 204
        assert_problem(await _reset(client, two), 422, "invalid-token")

    @pytest.mark.parametrize(
        "change", [{"password": "a long new one"}, {"email": "a@example.org"}]
    )
    async def test_dies_with_a_change(
        self, client: Client, change: dict[str, str]
    ) -> None:
        member = await factories.member()
        token = await factories.token(member, Purpose.PASSWORD_RESET)
        body = {**change, "current_password": factories.PASSWORD}
        await client.patch("/v1/users/me", json=body, auth=member)
        assert_problem(await _reset(client, token), 422, "invalid-token")

    async def test_strangers_have_us_compute_nothing(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def hash_password(_password: str) -> str:
            raise AssertionError("a hash was computed")

        monkeypatch.setattr("utils.passwords.hash_password", hash_password)
        assert_problem(await _reset(client, "guess"), 422, "invalid-token")

    async def test_log_in_that_races_with_it(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The old password opens a login when all others have just ended."""
        member = await factories.member()
        token = await factories.token(member, Purpose.PASSWORD_RESET)
        revoke = logins.revoke_logins_of
        opened: list[httpx.Response] = []

        async def revoke_and_let_in(user_id: str) -> None:
            await revoke(user_id)
            if not opened:
                # In a context of its own: no part of the transaction.
                late = asyncio.create_task(
                    _log_in(client, member.user.email, factories.PASSWORD),
                    context=Context(),
                )
                opened.append(await late)

        monkeypatch.setattr(logins, "revoke_logins_of", revoke_and_let_in)
        assert (await _reset(client, token)).status_code == 204
        assert opened[0].status_code == 200
        access_token = opened[0].json()["access_token"]
        response = await client.get(
            "/v1/auth/validate",
            headers={"Authorization": f"Bearer {access_token}"},
        )
        assert_problem(response, 401, "not-authenticated")

    async def test_killed_right_after_it(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The token is used up, so the logins must have ended with it."""
        member = await factories.member()
        token = await factories.token(member, Purpose.PASSWORD_RESET)
        run = transactions.run

        async def run_and_die(work: Callable[[], Awaitable[object]]) -> None:
            await run(work)
            raise ConnectionResetError("killed")

        monkeypatch.setattr(transactions, "run", run_and_die)
        reset = {"token": token, "new_password": NEW}
        with pytest.raises(ConnectionResetError):
            await accounts.reset_password(PasswordReset.model_validate(reset))
        monkeypatch.undo()
        response = await client.get("/v1/auth/validate", auth=member)
        assert_problem(response, 401, "not-authenticated")


class TestLinks:
    async def test_lead_to_the_pages(
        self, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pages = "https://community.example.org"
        changed = settings.model_copy(update={"frontend_url": pages})
        monkeypatch.setattr("utils.mailer.settings", changed)
        body = await _register(client)
        await _ask(client, body["email"])
        messages = {
            message["Subject"]: text_of(message)
            for message in await collect(tmp_path)
        }
        verify = messages["Confirm your e-mail address"]
        assert f"{pages}/verify-email#token=" in verify
        assert (
            f"{pages}/reset-password#token="
            in (messages["Choose a new password"])
        )
        assert "/v1/auth" not in verify
