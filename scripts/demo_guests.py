"""The demo's guests: who comes to an event, and what they think of it.

Nothing here touches the database. Each event has a generator of its own for its
guests and one for their feedback; only the times count from it as it is stored.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from models.events import Event
from models.feedback import FeedbackImport
from models.rsvps import GuestImport
from scripts.demo_community import Community, Fate, Gathering, random_of
from scripts.demo_data import COMPLAINTS, DOUBTS, PRAISE, Theme

_NOBODY_SHARE: Final = 0.12
_CROWD_SHARE: Final = 0.18
# Of those who live in the city, who has time.
_NEIGHBOUR_SHARE: Final = 0.7
_CAME_SHARE: Final = 0.8
# Of those who came, so that it is a third of those who have a seat.
_WRITER_SHARE: Final = 0.42
_SILENT_SHARE: Final = 0.2

_STARS: Final = (5, 4, 3, 2, 1)
_STAR_WEIGHTS: Final = (44, 33, 15, 5, 3)

_EARLIEST_JOIN: Final = timedelta(days=21)
_LATEST_WORD: Final = timedelta(hours=12)


@dataclass(frozen=True)
class Attendance:
    """Who comes to the events of a community.

    Attributes:
        community: the community.
        member_ids: the ids of its members in their order.
        until: nothing happens later.
    """

    community: Community
    member_ids: Sequence[str]
    until: datetime

    def gathering(self, number: int) -> Gathering:
        """One of the community's events; see `Community.gathering`."""
        return self.community.gathering(number, self.member_ids)

    def guests(
        self, gathering: Gathering, *, event: Event
    ) -> list[GuestImport]:
        """The guests of a stored event, in the order in which they joined."""
        if gathering.fate in (Fate.PENDING, Fate.DENIED):
            return []
        rng = random_of(self.community.seed, "guests", gathering.number)
        count = _count(rng, gathering.new.capacity)
        coming = _choose(rng, self.community, gathering.organiser, count)
        latest = min(event.starts_at, self.until)
        joined = [latest - rng.random() ** 2 * _EARLIEST_JOIN for _ in coming]
        begun = self._has_begun(gathering, event)
        return [
            GuestImport(
                user_id=self.member_ids[member],
                created_at=created_at,
                checked_in_at=_arrival(rng, event) if begun else None,
            )
            for member, created_at in zip(coming, sorted(joined), strict=True)
        ]

    def feedback(
        self,
        gathering: Gathering,
        *,
        event: Event,
        guests: Sequence[GuestImport],
    ) -> list[FeedbackImport]:
        """What some of the guests say who have a seat and came."""
        if not self._has_begun(gathering, event):
            return []
        rng = random_of(self.community.seed, "opinions", gathering.number)
        first = event.ends_at if gathering.days < 0 else event.starts_at
        return [
            FeedbackImport(
                author_id=guest.user_id,
                created_at=min(first + rng.random() * _LATEST_WORD, self.until),
                **_opinion(rng, gathering.theme),
            )
            for guest in guests[: event.capacity]
            if guest.checked_in_at is not None and rng.random() < _WRITER_SHARE
        ]

    def _has_begun(self, gathering: Gathering, event: Event) -> bool:
        # Somebody may have cancelled it; another run may count from other days.
        return (
            gathering.days <= 0
            and event.cancelled_at is None
            and event.starts_at <= self.until
        )


def _count(rng: random.Random, seats: int) -> int:
    luck = rng.random()
    if luck < _NOBODY_SHARE:
        return 0
    if luck < _NOBODY_SHARE + _CROWD_SHARE:
        return seats + rng.randint(1, max(2, seats // 4))
    return max(1, round(seats * rng.uniform(0.15, 0.7)))


def _choose(
    rng: random.Random, community: Community, organiser: int, count: int
) -> list[int]:
    """Numbers of members, those of the organiser's city the likeliest."""
    neighbours = community.residents[community.people[organiser].home]
    coming = [
        member
        for member in rng.sample(neighbours, len(neighbours))
        if member != organiser and rng.random() < _NEIGHBOUR_SHARE
    ][:count]
    known = {organiser, *coming}
    others = [n for n in range(len(community.people)) if n not in known]
    coming += rng.sample(others, min(count - len(coming), len(others)))
    rng.shuffle(coming)
    return coming


def _arrival(rng: random.Random, event: Event) -> datetime | None:
    late = timedelta(minutes=rng.uniform(-20, 15))
    return event.starts_at + late if rng.random() < _CAME_SHARE else None


def _opinion(rng: random.Random, theme: Theme) -> dict[str, Any]:
    rating = rng.choices(_STARS, _STAR_WEIGHTS)[0]
    texts: tuple[str, ...] = COMPLAINTS
    if rating >= 3:
        texts = DOUBTS if rating == 3 else theme.praise + PRAISE
    silent = rng.random() < _SILENT_SHARE
    return {"rating": rating, "comment": "" if silent else rng.choice(texts)}
