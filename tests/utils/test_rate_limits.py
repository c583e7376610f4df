"""Rate limits: whose limit counts for what, and what a caller is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pymongo.errors import ServerSelectionTimeoutError
from starlette.routing import compile_path

from app import app
from config.setting_values import Rate
from config.settings import OnStoreLoss
from config.token_leases import Lease, Share, TokenLeases, Window
from models.base import new_id
from models.exceptions import (
    NotAuthenticatedError,
    RateLimitedError,
    RateLimitUnavailableError,
)
from models.logins import Actor
from models.tiers import Tier
from models.users import Role
from tests import factories
from tests.commands import counted_leases
from tests.logged import logged
from tests.problems import assert_problem
from utils import rate_windows, tier_members, tiers
from utils.rate_limits import Headers, RateLimiter

PATHS = ("/v1/events", "/v1/events/{event_id}", "/v1/events/queue", "/v1/users")
TEMPLATES = {path: compile_path(path)[0] for path in PATHS}
HERE = "192.0.2.7"

Make = Callable[..., RateLimiter]


@pytest_asyncio.fixture(name="make")
async def _make(database: None, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes limiters, each like another machine's."""
    del database
    made: list[RateLimiter] = []

    def make(
        anonymous: int = 3,
        default: int = 5,
        on_store_loss: OnStoreLoss = OnStoreLoss.OPEN,
        lease: Lease = rate_windows.lease,
    ) -> RateLimiter:
        limiter = RateLimiter(
            TokenLeases(tmp_path / new_id(), lease),
            templates=TEMPLATES,
            # Long ones: none ends in the middle of a test, but for midnight.
            anonymous=Rate(anonymous, 86_400),
            default=Rate(default, 86_400),
            on_store_loss=on_store_loss,
        )
        made.append(limiter)
        return limiter

    yield make
    for limiter in made:
        await limiter.aclose()


def _actor(tier: str | None = None, key_id: str | None = None) -> Actor:
    return Actor(new_id(), new_id(), Role.MEMBER, tier, key_id)


async def _admit(
    limiter: RateLimiter, caller: object, *, address: str, path: str
) -> Headers:
    """Waits, where the limiter has to ask the store."""
    found = limiter.admit(caller, address=address, path=path)
    return found if isinstance(found, list) else await found


async def _admitted(
    limiter: RateLimiter,
    caller: object = None,
    address: str = HERE,
    path: str = "/v1/events",
    times: int = 20,
) -> int:
    """How many of some racing requests are admitted."""
    answers = await asyncio.gather(
        *(
            _admit(limiter, caller, address=address, path=path)
            for _ in range(times)
        ),
        return_exceptions=True,
    )
    refused = [a for a in answers if isinstance(a, RateLimitedError)]
    admitted = [a for a in answers if isinstance(a, list)]
    assert len(refused) + len(admitted) == times
    return len(admitted)


class TestCallers:
    async def test_strangers_by_address(self, make: Make) -> None:
        limiter = make()
        assert await _admitted(limiter) == 3
        assert await _admitted(limiter, address="192.0.2.8") == 3
        assert await _admitted(limiter, path="/v1/users") == 0

    async def test_bad_credentials_by_address(self, make: Make) -> None:
        limiter = make()
        assert await _admitted(limiter, NotAuthenticatedError()) == 3
        assert await _admitted(limiter) == 0

    @pytest.mark.parametrize(
        "other, is_same",
        [
            ("2001:db8:0:1::1", True),
            ("2001:DB8::1:ffff:ffff:ffff:ffff", True),
            ("2001:db8:0:1::1%eth0", True),
            ("2001:db8:0:2::1", False),
            ("::ffff:192.0.2.7", False),
            ("2001:db8:zz", False),
        ],
    )
    async def test_of_ipv6_the_network(
        self, make: Make, other: str, is_same: bool
    ) -> None:
        limiter = make()
        await _admitted(limiter, address="2001:db8:0:1::")
        found = await _admitted(limiter, address=other)
        assert found == (0 if is_same else 3)

    async def test_ipv4_in_ipv6_is_ipv4(self, make: Make) -> None:
        limiter = make()
        await _admitted(limiter, address="::ffff:192.0.2.7")
        assert await _admitted(limiter, address=HERE) == 0

    async def test_members_wherever_they_are(self, make: Make) -> None:
        limiter, ada, bob = make(), _actor(), _actor()
        assert await _admitted(limiter, ada) == 5
        assert await _admitted(limiter, ada, address="192.0.2.8") == 0
        assert await _admitted(limiter, bob) == 5
        assert await _admitted(limiter) == 3

    async def test_keys_by_key(self, make: Make) -> None:
        limiter = make()
        user_id = new_id()
        keys = [
            Actor(user_id, key_id, Role.MEMBER, None, key_id)
            for key_id in ("one", "other")
        ]
        member = Actor(user_id, new_id(), Role.MEMBER)
        for caller in (*keys, member):
            assert await _admitted(limiter, caller) == 5


class TestRules:
    async def test_the_tiers_own_for_all(self, make: Make) -> None:
        await factories.tier("gold", {"*": 7})
        limiter = make()
        await tiers.hand_out(limiter.apply)
        gold = _actor("gold")
        assert await _admitted(limiter, gold) == 7
        assert await _admitted(limiter, gold, path="/v1/users") == 0
        assert await _admitted(limiter, _actor("silver")) == 5

    async def test_a_path_counts_alone(self, make: Make) -> None:
        await factories.tier("gold", {"*": 7, "/v1/events/{event_id}": 2})
        limiter = make()
        await tiers.hand_out(limiter.apply)
        gold = _actor("gold")
        for event_id, admitted in (("x", 1), ("y", 1), ("z", 0)):
            path = f"/v1/events/{event_id}"
            found = await _admitted(limiter, gold, path=path, times=1)
            assert found == admitted
        assert await _admitted(limiter, gold) == 7
        assert await _admitted(limiter, gold, path="/v1/events/x") == 0

    async def test_others_have_the_default(self, make: Make) -> None:
        await factories.tier("gold", {"/v1/users": 2})
        limiter = make()
        await tiers.hand_out(limiter.apply)
        gold = _actor("gold")
        assert await _admitted(limiter, gold, path="/v1/users") == 2
        assert await _admitted(limiter, gold) == 5

    async def test_a_literal_path_is_no_parameter(self, make: Make) -> None:
        """/v1/events/queue fits /v1/events/{event_id}, but is another one."""
        await factories.tier("gold", {"/v1/events/{event_id}": 2})
        limiter = make()
        await tiers.hand_out(limiter.apply)
        gold = _actor("gold")
        assert await _admitted(limiter, gold, path="/v1/events/queue") == 5
        assert await _admitted(limiter, gold, path="/v1/events/x") == 2

    async def test_before_they_are_read(self, make: Make) -> None:
        await factories.tier("gold", {"*": 7})
        assert await _admitted(make(), _actor("gold")) == 5

    async def test_a_deleted_tier(self, make: Make) -> None:
        await factories.tier("gold", {"*": 7})
        limiter = make()
        await tiers.hand_out(limiter.apply)
        await tier_members.delete_tier("gold", actor=factories.actor())
        await tiers.hand_out(limiter.apply)
        assert await _admitted(limiter, _actor("gold")) == 5

    async def test_the_database_is_away(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was read last stays in force."""

        async def fail() -> list[Tier]:
            raise ServerSelectionTimeoutError

        await factories.tier("gold", {"*": 7})
        limiter = make()
        await tiers.hand_out(limiter.apply)
        monkeypatch.setattr(tiers, "list_all", fail)
        await tiers.hand_out(limiter.apply)
        assert await _admitted(limiter, _actor("gold")) == 7

    async def test_a_path_that_is_gone(self, make: Make) -> None:
        await factories.tier("gold", {"/v1/lost": 1, "*": 7})
        limiter = make()
        await tiers.hand_out(limiter.apply)
        assert await _admitted(limiter, _actor("gold"), path="/v1/lost") == 7

    async def test_can_be_of_these_paths(self, make: Make) -> None:
        assert set(make().paths) == set(PATHS)
        served = app.state.limiter.paths
        assert "/v1/events/{event_id}" in served
        assert not any(path.startswith("/health") for path in served)


class TestSaid:
    async def test_headers(self, make: Make) -> None:
        limiter = make(default=1200)
        headers = dict(
            await _admit(limiter, _actor(), address=HERE, path="/v1/events")
        )
        assert headers[b"ratelimit-policy"] == b'"default";q=1200;w=86400'
        name, left, seconds = headers[b"ratelimit"].split(b";")
        assert (name, left) == (b'"default"', b"r=1199")
        assert 1 <= int(seconds.removeprefix(b"t=")) <= 86_400

    async def test_names(self, make: Make) -> None:
        await factories.tier("gold", {"*": 7, "/v1/events/{event_id}": 2})
        limiter = make()
        await tiers.hand_out(limiter.apply)
        said = []
        for caller, path in (
            (None, "/v1/events"),
            (_actor("gold"), "/v1/events"),
            (_actor("gold"), "/v1/events/x"),
        ):
            headers = await _admit(limiter, caller, address=HERE, path=path)
            said.append(dict(headers)[b"ratelimit-policy"])
        assert said == [
            b'"anonymous";q=3;w=86400',
            b'"gold";q=7;w=60',
            b'"/v1/events/{event_id}";q=2;w=60',
        ]

    async def test_refusal(self, make: Make) -> None:
        limiter = make(anonymous=1)
        await _admitted(limiter)
        with pytest.raises(RateLimitedError) as refusal:
            await _admit(limiter, None, address=HERE, path="/v1/events")
        error = refusal.value
        seconds = error.facts["retry_after_seconds"]
        assert error.facts == {
            "limit": 1,
            "period_seconds": 86_400,
            "retry_after_seconds": seconds,
        }
        assert error.headers == {
            "Retry-After": str(seconds),
            "RateLimit-Policy": '"anonymous";q=1;w=86400',
            "RateLimit": f'"anonymous";r=0;t={seconds}',
        }


class TestCost:
    async def test_a_busy_window(self, make: Make) -> None:
        limiter, ada = make(default=1200), _actor()
        with counted_leases() as names:
            for _ in range(400):
                await _admit(limiter, ada, address=HERE, path="/v1/events")
        assert len(names) <= 0.2 * 400

    async def test_machines_share_the_limit(self, make: Make) -> None:
        ada = _actor()
        machines = [make(default=50) for _ in range(3)]
        found = [await _admitted(m, ada, times=40) for m in machines]
        assert sum(found) == 50


class TestStoreLoss:
    async def test_open(self, make: Make) -> None:
        limiter = make(lease=_fail)
        with logged("muster.rate_limits") as lines:
            for _ in range(9):
                headers = await _admit(
                    limiter, None, address=HERE, path="/v1/events"
                )
                assert headers == []
        assert lines == ["requests can't be counted: away"]

    async def test_closed(self, make: Make) -> None:
        limiter = make(lease=_fail, on_store_loss=OnStoreLoss.CLOSED)
        with logged("muster.rate_limits") as lines:
            for _ in range(9):
                with pytest.raises(RateLimitUnavailableError):
                    await _admit(limiter, None, address=HERE, path="/v1/events")
        assert len(lines) == 1


@pytest.fixture(name="pipeline")
def _pipeline(make: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Gives the app limits of a test's own."""

    def use(**limits: Any) -> RateLimiter:
        limiter = make(**limits)
        for name, value in vars(limiter).items():
            monkeypatch.setattr(app.state.limiter, name, value)
        return limiter

    return use


async def _fail(_window: Window, _wanted: int) -> Share:
    raise ConnectionError("away")


class TestOverHttp:
    """The whole pipeline, with limits of this test's own."""

    async def test_a_member_is_refused(
        self, client: httpx.AsyncClient, pipeline: Make
    ) -> None:
        pipeline(default=2)
        member = await factories.member()
        answers = [
            await client.get("/v1/users/me", auth=member) for _ in range(3)
        ]
        assert [a.status_code for a in answers] == [200, 200, 429]
        assert answers[0].headers["ratelimit"].startswith('"default";r=1;t=')
        problem = assert_problem(answers[2], 429, "rate-limited")
        assert problem["limit"] == 2
        retry_after = int(answers[2].headers["retry-after"])
        assert retry_after == problem["retry_after_seconds"]
        assert answers[2].headers["ratelimit-policy"] == (
            '"default";q=2;w=86400'
        )
        assert (await client.get("/v1/events")).status_code == 200

    async def test_guesses_are_counted(
        self, client: httpx.AsyncClient, pipeline: Make
    ) -> None:
        pipeline(anonymous=2)
        headers = {"Authorization": "Bearer guessed"}
        answers = [
            await client.get("/v1/users/me", headers=headers) for _ in range(3)
        ]
        assert [a.status_code for a in answers] == [401, 401, 429]

    @pytest.mark.parametrize(
        "path", ["/health/live", "/docs/assets/favicon.png"]
    )
    async def test_some_paths_are_free(
        self, client: httpx.AsyncClient, pipeline: Make, path: str
    ) -> None:
        pipeline(anonymous=1)
        for _ in range(3):
            answer = await client.get(path)
            assert answer.status_code != 429
            assert "ratelimit" not in answer.headers

    async def test_nobody_can_count(
        self, client: httpx.AsyncClient, pipeline: Make
    ) -> None:
        pipeline(lease=_fail, on_store_loss=OnStoreLoss.CLOSED)
        with logged("muster.rate_limits"):
            response = await client.get("/v1/events")
        assert_problem(response, 503, "rate-limit-unavailable")
        assert response.headers["retry-after"] == "1"
        assert (await client.get("/health/live")).status_code == 200
