"""What a benchmark prints: medians, and ratios with their range."""

import statistics
from collections.abc import Sequence


def median_of(taken: Sequence[object], name: str) -> float:
    """The median of what some samples have under a name."""
    return float(statistics.median(getattr(sample, name) for sample in taken))


def range_of(numbers: Sequence[float], digits: int = 2) -> str:
    """The median of numbers, and how far they lie apart."""
    middle, low, high = statistics.median(numbers), min(numbers), max(numbers)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def ratios(pair: Sequence[Sequence[object]], name: str) -> str:
    """The median of the rounds' ratios, and how far they lie apart."""
    return range_of(
        [
            getattr(one, name) / getattr(other, name)
            for one, other in zip(*pair, strict=True)
        ]
    )
