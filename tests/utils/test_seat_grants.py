"""Seat grants: what is wanted at most at one moment."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from utils.seat_grants import Demand, peak

_NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
_HOURS = st.integers(0, 12)


def _at(hour: int) -> datetime:
    return _NOON + timedelta(hours=hour)


@st.composite
def _demands(draw: st.DrawFn) -> Demand:
    starts = draw(_HOURS)
    length = draw(st.integers(0, 6))
    return Demand(_at(starts), _at(starts + length), draw(st.integers(0, 8)))


class TestPeak:
    def test_back_to_back_is_not_together(self) -> None:
        demands = [Demand(_at(0), _at(2), 3), Demand(_at(2), _at(4), 4)]
        assert peak(demands, starts=_at(0), ends=_at(4)) == 4

    def test_only_that_time_counts(self) -> None:
        demands = [Demand(_at(0), _at(2), 3), Demand(_at(6), _at(8), 9)]
        assert peak(demands, starts=_at(1), ends=_at(6)) == 3

    @settings(max_examples=300)
    @given(st.lists(_demands(), max_size=12), _HOURS, st.integers(1, 8))
    def test_is_what_one_finds_hour_by_hour(
        self, demands: list[Demand], starts: int, length: int
    ) -> None:
        # All edges are whole hours: between two of them nothing changes.
        hour_by_hour = [
            sum(d.gpus for d in demands if d.starts <= _at(hour) < d.ends)
            for hour in range(starts, starts + length)
        ]
        assert peak(
            demands, starts=_at(starts), ends=_at(starts + length)
        ) == max(hour_by_hour)
