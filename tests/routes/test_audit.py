"""The audit over HTTP: what is written down, and how it is read."""

import asyncio
import base64
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import httpx
import pytest

from config import db
from config.main import settings
from models.audit import AuditAction, AuditEntry
from models.base import new_id, utc_now
from tests import factories
from tests.commands import counted
from tests.factories import UNKNOWN_ID, Member, parse
from tests.problems import assert_problem
from utils import accounts, audit, logins, paging

Client = httpx.AsyncClient
Entry = dict[str, Any]

NAMED = {"X-Request-ID": "the-request"}


async def _read(client: Client, **params: Any) -> list[Entry]:
    """The entries that fit, as an admin reads them."""
    reader = await factories.admin()
    response = await client.get("/v1/audit", params=params, auth=reader)
    assert response.status_code == 200, response.text
    items: list[Entry] = response.json()["items"]
    return items


def _assert_written(
    entry: Entry,
    action: str,
    *,
    actor: str | None,
    target: str | None,
    **facts: str,
) -> None:
    """Checks the entry of a request that was made with the headers NAMED."""
    assert abs(utc_now() - parse(entry["at"])) < timedelta(minutes=5)
    shown = {name: entry[name] for name in entry if name not in ("id", "at")}
    assert shown == {
        "action": action,
        "actor_id": actor,
        "target_id": target,
        "address": "127.0.0.1",
        "request_id": "the-request",
        "facts": facts,
    }


async def _log_in(
    client: Client, email: str, password: str = factories.PASSWORD
) -> httpx.Response:
    form = {"username": email, "password": password}
    return await client.post("/v1/auth/login", data=form, headers=NAMED)


async def _refresh(client: Client, token: str) -> httpx.Response:
    body = {"refresh_token": token}
    return await client.post("/v1/auth/refresh", json=body, headers=NAMED)


@pytest.fixture(name="lenient")
async def _lenient(client: Client) -> Client:
    """A client that accepts what no endpoint declares: faults of our own."""
    client.event_hooks = {}
    return client


class TestLogins:
    async def test_log_in(self, client: Client) -> None:
        member = await factories.member()
        tokens = (await _log_in(client, member.user.email)).json()
        entry = (await _read(client, target=member.user.id))[0]
        _assert_written(
            entry,
            "login.created",
            actor=member.user.id,
            target=member.user.id,
            login_id=tokens["refresh_token"].partition(".")[0],
        )

    async def test_wrong_password(self, client: Client) -> None:
        member = await factories.member()
        await _log_in(client, member.user.email, "wrong password")
        (entry,) = await _read(client, action="login.failed")
        _assert_written(
            entry, "login.failed", actor=None, target=member.user.id
        )

    async def test_unknown_email(self, client: Client) -> None:
        await _log_in(client, "my password, typed too early@example.org")
        (entry,) = await _read(client, action="login.failed")
        _assert_written(entry, "login.failed", actor=None, target=None)

    async def test_disabled(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        path = f"/v1/users/{member.user.id}"
        await client.patch(path, json={"disabled": True}, auth=admin)
        await _log_in(client, member.user.email)
        (entry,) = await _read(client, action="login.failed")
        _assert_written(
            entry, "login.failed", actor=None, target=member.user.id
        )

    async def test_what_is_refused_unchecked_fills_nothing(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("utils.attempts._LIMIT_BY_SOURCE", 3)
        email = (await factories.member()).user.email
        racing = [_log_in(client, email, f"wrong {n}") for n in range(12)]
        responses = await asyncio.gather(*racing)
        checked = [r for r in responses if r.status_code == 401]
        failed = await _read(client, action="login.failed")
        # Twice as many where a quarter of an hour ends in between.
        assert len(failed) == len(checked) <= 6

    async def test_account_that_changes_meanwhile(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        member = await factories.member()

        async def has_changed(_user: object) -> bool:
            return True

        monkeypatch.setattr(logins, "_has_changed", has_changed)
        refused = await _log_in(client, member.user.email)
        monkeypatch.undo()
        assert_problem(refused, 401, "bad-credentials")
        ended, begun, _ = await _read(client, target=member.user.id)
        login_id = begun["facts"]["login_id"]
        _assert_written(
            ended,
            "login.revoked",
            actor=None,
            target=member.user.id,
            login_id=login_id,
        )
        assert begun["action"] == "login.created"

    async def test_reuse_of_a_refresh_token(self, client: Client) -> None:
        member = await factories.member()
        for _ in range(3):
            await _refresh(client, member.tokens.refresh_token)
        (entry,) = await _read(client, action="login.reused")
        _assert_written(
            entry,
            "login.reused",
            actor=None,
            target=member.user.id,
            login_id=member.actor.login_id,
        )

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/v1/auth/logout"),
            ("DELETE", "/v1/auth/logins/{login_id}"),
        ],
    )
    async def test_log_out(
        self, client: Client, method: str, path: str
    ) -> None:
        member = await factories.member()
        path = path.format(login_id=member.actor.login_id)
        response = await client.request(
            method, path, auth=member, headers=NAMED
        )
        assert response.status_code == 204
        (entry,) = await _read(client, action="login.revoked")
        _assert_written(
            entry,
            "login.revoked",
            actor=member.user.id,
            target=member.user.id,
            login_id=member.actor.login_id,
        )

    async def test_a_login_ends_once(self, client: Client) -> None:
        member = await factories.member()
        other = (await _log_in(client, member.user.email)).json()
        login_id = other["refresh_token"].partition(".")[0]
        path = f"/v1/auth/logins/{login_id}"
        for _ in range(2):
            response = await client.delete(path, auth=member)
            assert response.status_code == 204
        assert len(await _read(client, action="login.revoked")) == 1

    async def test_log_out_everywhere(self, client: Client) -> None:
        member = await factories.member()
        await client.post("/v1/auth/logout-all", auth=member, headers=NAMED)
        (entry,) = await _read(client, action="logins.revoked")
        _assert_written(
            entry,
            "logins.revoked",
            actor=member.user.id,
            target=member.user.id,
        )

    async def test_what_is_not_done_is_not_written(
        self, client: Client
    ) -> None:
        member, stranger = await factories.member(), await factories.member()
        path = f"/v1/auth/logins/{member.actor.login_id}"
        await client.delete(path, auth=stranger)
        await _refresh(client, f"{member.actor.login_id}.x.y")
        actions = {e["action"] for e in await _read(client)}
        assert actions == {"login.created"}


class TestMembers:
    async def test_wrong_current_password(self, client: Client) -> None:
        member = await factories.member()
        for password in ("wrong password", factories.PASSWORD):
            body = {
                "password": "another long one",
                "current_password": password,
            }
            await client.patch(
                "/v1/users/me", json=body, auth=member, headers=NAMED
            )
        (entry,) = await _read(client, action="password.refused")
        me = member.user.id
        _assert_written(entry, "password.refused", actor=me, target=me)

    async def test_changes_by_an_admin(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        path = f"/v1/users/{member.user.id}"
        for change in (
            {"role": "admin", "disabled": True},
            {"role": "admin", "disabled": False},
            {},
        ):
            response = await client.patch(
                path, json=change, auth=admin, headers=NAMED
            )
            assert response.status_code == 200
        entries = await _read(client, action="member.changed")
        wanted: list[dict[str, str]] = [
            {},
            {"disabled": "true → false"},
            {"role": "member → admin", "disabled": "false → true"},
        ]
        for entry, facts in zip(entries, wanted, strict=True):
            _assert_written(
                entry,
                "member.changed",
                actor=admin.user.id,
                target=member.user.id,
                **facts,
            )

    async def test_racing_admins(self, client: Client) -> None:
        """Each entry goes on where the one before it ended."""
        member = await factories.member()
        admins = [await factories.admin() for _ in range(6)]
        path = f"/v1/users/{member.user.id}"
        await asyncio.gather(
            *(
                client.patch(path, json={"disabled": n % 2 == 0}, auth=admin)
                for n, admin in enumerate(admins)
            )
        )
        changes = [
            entry["facts"]["disabled"]
            for entry in await _read(client, action="member.changed")
            if entry["facts"]
        ]
        assert changes[-1] == "false → true"
        assert all(a != b for a, b in pairwise(changes))

    async def test_refused_changes(self, client: Client) -> None:
        member, admin = await factories.member(), await factories.admin()
        refused = [
            (admin, member.user.id, {"If-Match": '"x"'}, 412),
            (admin, admin.user.id, {}, 403),
            (member, admin.user.id, {}, 403),
            (admin, UNKNOWN_ID, {}, 404),
        ]
        for caller, user_id, headers, status in refused:
            response = await client.patch(
                f"/v1/users/{user_id}",
                json={"disabled": True},
                auth=caller,
                headers=headers,
            )
            assert response.status_code == status
        assert await _read(client, action="member.changed") == []

    async def test_on_the_operators_word(self, client: Client) -> None:
        member = await factories.member()
        await accounts.make_admin(member.user)
        (entry,) = await _read(client, action="member.changed")
        assert entry["actor_id"] is None
        assert entry["target_id"] == member.user.id
        assert entry["address"] == ""
        assert entry["request_id"] == "-"
        assert entry["facts"] == {"role": "member → admin"}


class TestEvents:
    @pytest.mark.parametrize(
        ("method", "path", "action"),
        [
            ("POST", "/approve", "event.approved"),
            ("POST", "/deny", "event.denied"),
            ("POST", "/cancel", "event.cancelled"),
            ("PATCH", "", "event.changed"),
            ("DELETE", "", "event.deleted"),
        ],
    )
    async def test_by_an_admin(
        self, client: Client, method: str, path: str, action: str
    ) -> None:
        admin = await factories.admin()
        event = await factories.event(by=factories.actor())
        bodies = {"/deny": {"reason": "No."}, "": {"title": "x"}}
        response = await client.request(
            method,
            f"/v1/events/{event.id}{path}",
            json=None if method == "DELETE" else bodies.get(path),
            auth=admin,
            headers=NAMED,
        )
        assert response.is_success
        (entry,) = await _read(client, target=event.id)
        facts = bodies[path] if path == "/deny" else {}
        _assert_written(
            entry, action, actor=admin.user.id, target=event.id, **facts
        )


class TestTogether:
    """There is no deed without its entry."""

    @pytest.fixture(name="full")
    def _full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def fail(*_: object, **__: object) -> None:
            raise RuntimeError("the disk is full")

        monkeypatch.setattr(audit, "record", fail)

    async def test_log_out(
        self, lenient: Client, request: pytest.FixtureRequest
    ) -> None:
        member = await factories.member()
        request.getfixturevalue("full")
        for path in ("/v1/auth/logout", "/v1/auth/logout-all"):
            response = await lenient.post(path, auth=member)
            assert response.status_code == 500
        validate = await lenient.get("/v1/auth/validate", auth=member)
        assert validate.status_code == 204

    async def test_log_in(
        self, lenient: Client, request: pytest.FixtureRequest
    ) -> None:
        member = await factories.member()
        request.getfixturevalue("full")
        response = await _log_in(lenient, member.user.email)
        assert response.status_code == 500
        found = await lenient.get("/v1/auth/logins", auth=member)
        assert len(found.json()["items"]) == 1

    async def test_change_of_a_member(
        self, lenient: Client, request: pytest.FixtureRequest
    ) -> None:
        member, admin = await factories.member(), await factories.admin()
        request.getfixturevalue("full")
        path = f"/v1/users/{member.user.id}"
        response = await lenient.patch(
            path, json={"disabled": True}, auth=admin
        )
        assert response.status_code == 500
        read = await lenient.get(path, auth=admin)
        assert read.json()["disabled"] is False


def _entry(rng: Random, members: list[str], at: datetime) -> AuditEntry:
    return AuditEntry(
        at=at,
        actor_id=rng.choice([*members, None]),
        action=rng.choice(list(AuditAction)[:3]),
        target_id=rng.choice(members),
        address="127.0.0.1",
        request_id="-",
    )


async def _fill(rng: Random, members: list[str]) -> list[AuditEntry]:
    """Entries of the last minutes, days and years, some at the same time."""
    now = utc_now()
    ages = [
        timedelta(milliseconds=rng.choice([1, 10**5, 10**8, 10**11]) * n)
        for n in (rng.choice([0, 0, 1, rng.randint(1, 9)]) for _ in range(60))
    ]
    entries = [_entry(rng, members, now - age) for age in ages]
    stored = db.get_client()[settings.mongo_db_name]["audit"]
    await stored.delete_many({})
    await stored.insert_many([entry.dict() for entry in entries])
    return sorted(entries, key=lambda e: (e.at, e.id), reverse=True)


def _any_query(
    rng: Random, members: list[str], entries: list[AuditEntry]
) -> dict[str, Any]:
    asked = {
        "actor": rng.choice([None, None, members[0]]),
        "target": rng.choice([None, None, members[1]]),
        "action": rng.choice([None, None, AuditAction.ACCOUNT_CLOSED]),
        "after": rng.choice([None, rng.choice(entries).at.isoformat()]),
        "before": rng.choice([None, rng.choice(entries).at.isoformat()]),
        "limit": rng.choice([1, 3, 20]),
    }
    return {name: value for name, value in asked.items() if value is not None}


def _fits(entry: AuditEntry, asked: dict[str, Any]) -> bool:
    at = entry.at.isoformat()
    return (
        asked.get("actor", entry.actor_id) == entry.actor_id
        and asked.get("target", entry.target_id) == entry.target_id
        and asked.get("action", entry.action) == entry.action
        and parse(asked.get("after", at)) <= entry.at
        and ("before" not in asked or entry.at < parse(asked["before"]))
    )


async def _walk(
    client: Client, reader: Member, **params: Any
) -> tuple[list[str], int]:
    """All ids from page to page, and the most queries that a page took."""
    seen: list[str] = []
    most = 0
    while params.get("cursor", "") is not None:
        with counted() as commands:
            response = await client.get("/v1/audit", params=params, auth=reader)
        assert response.status_code == 200, response.text
        most = max(most, commands.count("aggregate"))
        page = response.json()
        seen += [entry["id"] for entry in page["items"]]
        params["cursor"] = page["next_cursor"]
    return seen, most


class TestList:
    @pytest.mark.parametrize("seed", range(8))
    async def test_filters_and_pages(self, client: Client, seed: int) -> None:
        """Each list is what plain Python makes of the same entries."""
        rng, reader = Random(seed), await factories.admin()
        members = [new_id() for _ in range(3)]
        entries = await _fill(rng, members)
        for _ in range(12):
            asked = _any_query(rng, members, entries)
            seen, most = await _walk(client, reader, **asked)
            wanted = [entry.id for entry in entries if _fits(entry, asked)]
            assert seen == wanted, asked
            assert most <= 3

    async def test_the_latest_page_is_one_query(self, client: Client) -> None:
        reader = await factories.admin()
        for _ in range(3):
            await _log_in(client, reader.user.email)
        with counted() as commands:
            await client.get("/v1/audit", params={"limit": 2}, auth=reader)
        assert commands == ["find", "aggregate"]

    async def test_reading_is_not_written(self, client: Client) -> None:
        reader = await factories.admin()
        for _ in range(3):
            await client.get("/v1/audit", auth=reader)
        assert len(await _read(client, actor=reader.user.id)) == 1

    @pytest.mark.parametrize(
        "params",
        [
            {"before": "0001-01-01T00:00:00Z"},
            {"after": "9999-12-31T23:59:59Z"},
            {
                "after": "2030-01-01T00:00:00Z",
                "before": "2020-01-01T00:00:00Z",
            },
            {"actor": UNKNOWN_ID},
            {"target": UNKNOWN_ID, "action": "login.created"},
        ],
    )
    async def test_nothing_there(
        self, client: Client, params: dict[str, str]
    ) -> None:
        assert await _read(client, **params) == []

    @pytest.mark.parametrize(
        "params",
        [
            {"actor": "x"},
            {"target": {"$ne": None}},
            {"action": "login"},
            {"after": "2030-01-01"},
            {"limit": 0},
            {"cursor": "x"},
            {"who": "x"},
        ],
    )
    async def test_invalid(
        self, client: Client, params: dict[str, Any]
    ) -> None:
        admin = await factories.admin()
        response = await client.get("/v1/audit", params=params, auth=admin)
        assert_problem(response, 422, "invalid-request")

    @pytest.mark.parametrize(
        ("at_ms", "status"),
        [
            (-62_135_596_800_000, 200),  # The year 1.
            (253_402_300_799_998, 200),  # The last moment but one of 9999.
            (253_402_300_799_999, 422),
            (10**30, 422),
            (-(10**30), 422),
        ],
    )
    async def test_forged_cursor(
        self, client: Client, at_ms: int, status: int
    ) -> None:
        admin = await factories.admin()
        await _log_in(client, admin.user.email)
        page = await client.get("/v1/audit", params={"limit": 1}, auth=admin)
        walked = paging.TimeCursor.model_validate_json(
            base64.urlsafe_b64decode(page.json()["next_cursor"])
        )
        forged = paging.encode(walked.model_copy(update={"at_ms": at_ms}))
        response = await client.get(
            "/v1/audit", params={"cursor": forged}, auth=admin
        )
        assert response.status_code == status

    async def test_cursor_of_another_list(self, client: Client) -> None:
        admin = await factories.admin()
        await _log_in(client, admin.user.email)
        page = await client.get("/v1/audit", params={"limit": 1}, auth=admin)
        params = {
            "cursor": page.json()["next_cursor"],
            "action": "login.created",
        }
        response = await client.get("/v1/audit", params=params, auth=admin)
        assert_problem(response, 422, "invalid-request")

    async def test_admins_only(self, client: Client) -> None:
        member = await factories.member()
        response = await client.get("/v1/audit", auth=member)
        assert_problem(response, 403, "forbidden")
        assert_problem(await client.get("/v1/audit"), 401, "not-authenticated")

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    async def test_is_read_only(self, client: Client, method: str) -> None:
        admin = await factories.admin()
        response = await client.request(method, "/v1/audit", auth=admin)
        assert_problem(response, 405, "method-not-allowed")


class TestOrigin:
    async def test_a_forged_address_is_not_believed(
        self, client: Client
    ) -> None:
        """Whose word counts is the server's business: TRUSTED_PROXIES."""
        member = await factories.member()
        form = {"username": member.user.email, "password": "wrong password"}
        forged = {
            name: "6.6.6.6"
            for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded")
        }
        await client.post("/v1/auth/login", data=form, headers=forged)
        (entry,) = await _read(client, action="login.failed")
        assert entry["address"] == "127.0.0.1"

    async def test_racing_requests_keep_their_own(self, client: Client) -> None:
        members = [await factories.member() for _ in range(10)]

        async def log_out(member: Member) -> None:
            await client.post(
                "/v1/auth/logout",
                auth=member,
                headers={"X-Request-ID": f"by-{member.user.id}"},
            )

        await asyncio.gather(*map(log_out, members))
        ended = await _read(client, action="login.revoked")
        assert {(e["actor_id"], e["request_id"]) for e in ended} == {
            (member.user.id, f"by-{member.user.id}") for member in members
        }
