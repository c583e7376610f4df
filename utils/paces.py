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


class Pace:
    """How far recent pages reached, so that the next query asks for so much."""

    def __init__(self) -> None:
        self._reach: dict[str, float] = {}

    def guess(self, kind: str, whole: float) -> float:
        """How far to ask, at most `whole`, which is also the first guess."""
        return min(whole, self._reach.get(kind, whole))

    def learn(self, kind: str, reach: float | None, least: float) -> None:
        """Notes how far a full page reached; None when it was not full."""
        if reach is None:
            self._reach.pop(kind, None)
        else:
            self._reach[kind] = max(least, 2 * reach)


class OldestFirst:
    """The pace of lists that begin with the oldest there is.

    Where that is, nobody knows before: a first page begins where the last one
    did, and everything older belongs to it as well.
    """

    def __init__(self) -> None:
        self._pace = Pace()
        self._oldest: dict[str, datetime] = {}

    def spans(
        self, kind: str, key: str, last: datetime | None
    ) -> Iterator[db.Document]:
        """What to ask for in turn until a page is full: the last is all.

        Args:
            kind: what lists have in common that reach about as far.
            key: the field of the time.
            last: where the last page ended; None for a first page.
        """
        bounds: db.Document = {} if last is None else {"$gte": last}
        begin = last or self._oldest.get(kind)
        reach = self._pace.guess(kind, math.inf)
        # A guess that reaches beyond now is all there is.
        if begin is not None and reach < (utc_now() - begin).total_seconds():
            end = begin + timedelta(seconds=reach)
            yield {key: {**bounds, "$lt": end}}
        yield {key: bounds} if bounds else {}

    def learn(
        self, kind: str, last: datetime | None, times: Sequence[datetime]
    ) -> None:
        """Notes how far a page reached.

        Args:
            kind: see `spans`.
            last: see `spans`.
            times: those of a full page's items; none where it was not full.
        """
        if times:
            begin = last or times[0]
            seconds = (times[-1] - begin).total_seconds()
            self._pace.learn(kind, seconds, _LEAST_SECONDS)
        elif last is None:
            self._pace.learn(kind, None, _LEAST_SECONDS)
        if times and last is None:
            self._oldest[kind] = times[0]
