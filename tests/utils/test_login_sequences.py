"""Logins whatever happens, in any order: who is out stays out."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import db
from models.base import PageQuery, new_id
from models.exceptions import BadCredentialsError, NotAuthenticatedError
from models.logins import TokenPair
from models.users import Role, UserAdminUpdate, UserUpdate
from tests import factories
from tests.fuzzing import examples
from utils import accounts, attempts, logins

_PASSWORDS = [factories.PASSWORD, "another long one"]
_ADDRESS = "192.0.2.1"

# What happens, with a number that says to which login.
_DEEDS = st.lists(
    st.tuples(
        st.sampled_from(
            ["log_in"] * 3
            + ["refresh"] * 3
            + ["retry", "reuse", "log_out", "log_out_all", "set_password"]
            + ["disable", "enable"]
        ),
        st.integers(0, 4),
    ),
    min_size=8,
    max_size=20,
)


@dataclass
class _Login:
    """One that was made, with all tokens that it ever had."""

    pairs: list[TokenPair] = field(default_factory=list)
    is_alive: bool = True

    @property
    def last(self) -> TokenPair:
        """The only one whose refresh token is good."""
        return self.pairs[-1]


class _World:
    """What should be, by a simple model."""

    def __init__(self, member: factories.Member) -> None:
        self.member = member
        self.made = [_Login([member.tokens])]
        self.password = 0
        self.is_disabled = False

    async def log_in(self, which: int) -> None:
        """By the password, or by the one before it."""
        is_right = which > 0
        password = _PASSWORDS[self.password if is_right else 1 - self.password]
        # Failures would slow it down; their own tests say how.
        await db.collection(attempts.COLLECTION).delete_many({})
        begun = accounts.log_in(
            self.member.user.email, password, address=_ADDRESS, client="test"
        )
        if is_right and not self.is_disabled:
            self.made.append(_Login([await begun]))
            return
        with pytest.raises(BadCredentialsError):
            await begun

    async def refresh(self, which: int) -> None:
        """A new pair for the last one, while it lives."""
        await self._refresh(self._pick(which), retry_key=None)

    async def retry(self, which: int) -> None:
        """An answer that was lost comes again."""
        login, key = self._pick(which), new_id()
        before = login.last
        await self._refresh(login, retry_key=key)
        if login.is_alive:
            again = await logins.refresh(before.refresh_token, retry_key=key)
            assert again.refresh_token == login.last.refresh_token
            login.pairs.append(again)

    async def reuse(self, which: int) -> None:
        """Who uses a token that was used ends the login."""
        login = self._pick(which)
        used = [
            pair.refresh_token
            for pair in login.pairs
            if pair.refresh_token != login.last.refresh_token
        ]
        if used:
            with pytest.raises(NotAuthenticatedError):
                await logins.refresh(used[which % len(used)], retry_key=None)
            login.is_alive = False

    async def log_out(self, which: int) -> None:
        """That one alone."""
        login = self._pick(which)
        if login.is_alive:
            await logins.log_out(
                await logins.authenticate(login.last.access_token)
            )
            login.is_alive = False

    async def log_out_all(self, _: int) -> None:
        """Every one of them."""
        await logins.log_out_all(self.member.actor)
        self._end_all()

    async def set_password(self, which: int) -> None:
        """All logins end but the one that does it."""
        login = self._pick(which)
        if not login.is_alive:
            return
        change = UserUpdate.model_validate(
            {
                "current_password": _PASSWORDS[self.password],
                "password": _PASSWORDS[1 - self.password],
            }
        )
        actor = await logins.authenticate(login.last.access_token)
        await accounts.update_own(change, actor=actor, if_match=())
        self.password = 1 - self.password
        self._end_all(but=login)

    async def disable(self, _: int) -> None:
        """Nobody comes in any more."""
        await self._set_disabled(True)
        self._end_all()

    async def enable(self, _: int) -> None:
        """They may log in again; what has ended stays so."""
        await self._set_disabled(False)

    async def check(self) -> None:
        """Each access token is good exactly while its login lives."""
        for login in self.made:
            for token in {pair.access_token for pair in login.pairs}:
                if login.is_alive:
                    actor = await logins.authenticate(token)
                    assert actor.user_id == self.member.user.id
                    continue
                with pytest.raises(NotAuthenticatedError):
                    await logins.authenticate(token)
        query = PageQuery(limit=100, cursor=None)
        page = await logins.list_logins(query, actor=self.member.actor)
        assert {login.id for login in page.items} == {
            login.last.refresh_token.partition(".")[0]
            for login in self.made
            if login.is_alive
        }

    async def _refresh(self, login: _Login, *, retry_key: str | None) -> None:
        begun = logins.refresh(login.last.refresh_token, retry_key=retry_key)
        if login.is_alive:
            login.pairs.append(await begun)
            return
        with pytest.raises(NotAuthenticatedError):
            await begun

    async def _set_disabled(self, disabled: bool) -> None:
        await accounts.administer(
            self.member.user.id,
            UserAdminUpdate(disabled=disabled),
            actor=factories.actor(Role.ADMIN),
            if_match=(),
        )
        self.is_disabled = disabled

    def _pick(self, which: int) -> _Login:
        # The latest ones: those that live, mostly.
        return self.made[-1 - which % len(self.made)]

    def _end_all(self, but: _Login | None = None) -> None:
        for login in self.made:
            login.is_alive &= login is but


@pytest.mark.usefixtures("database")
@examples(15)
@given(deeds=_DEEDS)
async def test_they_agree(deeds: list[tuple[str, int]]) -> None:
    world = _World(await factories.member())
    for deed, number in deeds:
        await getattr(world, deed)(number)
        await world.check()
