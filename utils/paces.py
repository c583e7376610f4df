"""Paces: how far recent pages of a list reached.

Owns no collection. May call: nobody. The embedded server reads a range to its
end before it takes a page of it: so a list first asks for about as much as the
last page needed. It changes only how much a query reads, never what it
answers: a guess that falls short is followed by a query for the rest.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from config import db
from models.base import utc_now

# What is sorted by time may be this close together.
_LEAST_SECONDS: Final = 0.001
# Where a guess falls short, one so much longer comes before all.
_FACTORS: Final = (1, 32)
# The list of them all: how far it reaches is the first guess for its parts.
_ALL: Final = ""


class Pace:
    """How far recent pages reached, so that the next query asks for so much."""

    def __init__(self) -> None:
        self._reach: dict[str, float] = {}

    def guess(self, kind: str, whole: float, first: float) -> float:
        """How far to ask.

        Args:
            kind: what lists have in common that reach about as far.
            whole: how far at most.
            first: how far where nothing is known.
        """
        reach = self._reach.get(kind, first)
        if reach == math.inf:
            # Where all is too much to be answered, it is not asked for again.
            self._reach.pop(kind, None)
        return min(whole, reach)

    def learn(self, kind: str, reach: float | None, least: float) -> None:
        """Notes how far a full page reached; None when it was not full.

        Few are asked for all at once the next time.
        """
        self._reach[kind] = math.inf if reach is None else max(least, 2 * reach)


class OldestFirst:
    """The pace of lists that begin with the oldest there is.

    Where that is, nobody knows before: a first page begins where the last one
    did, and everything older belongs to it as well. A kind is what lists have
    in common that reach about as far; "" is the list of them all.
    """

    def __init__(self) -> None:
        self._pace = Pace()
        self._oldest: dict[str, datetime] = {}
        self.is_new = True

    def begin(self, times: Sequence[datetime]) -> None:
        """Takes those of any members of the list of them all for its oldest.

        The later half is left out: they may be there by chance.
        """
        self.is_new = False
        if len(times) > 1:
            self.learn(_ALL, None, sorted(times)[: len(times) // 2])

    def spans(
        self, kind: str, key: str, last: datetime | None
    ) -> Iterator[db.Document]:
        """What to ask for in turn until a page is full: the last is all.

        Args:
            kind: see the class.
            key: the field of the time.
            last: where the last page ended; None for a first page.
        """
        bounds: db.Document = {} if last is None else {"$gte": last}
        known = kind if kind in self._oldest else _ALL
        begin = last or self._oldest.get(known)
        if begin is not None:
            age = (utc_now() - begin).total_seconds()
            reach = self._pace.guess(known, math.inf, first=math.inf)
            for seconds in (factor * reach for factor in _FACTORS):
                # A guess that reaches beyond now is all there is.
                if seconds < age:
                    end = begin + timedelta(seconds=seconds)
                    yield {key: {**bounds, "$lt": end}}
        yield {key: bounds} if bounds else {}

    def learn(
        self, kind: str, last: datetime | None, times: Sequence[datetime]
    ) -> None:
        """Notes how far a page reached.

        Args:
            kind: see the class.
            last: see `spans`.
            times: those of a full page's items; none where it was not full.
        """
        if times:
            begin = last or times[0]
            seconds = (times[-1] - begin).total_seconds()
            self._pace.learn(kind, seconds, _LEAST_SECONDS)
        if last is None and times:
            self._oldest[kind] = times[0]
        elif last is None:
            self._oldest.pop(kind, None)
