"""Jobs: what both queues of a benchmark have done; NumPy is all they need."""

from typing import Any, Final

import numpy as np

# The names of the jobs, and the bytes of the array that each is called with.
ARRAY_BYTES: Final = {"nothing": 0, "mean": 1_000_000}


def nothing() -> None:
    """Does nothing."""


def mean(array: np.ndarray[Any, Any]) -> float:
    """The mean of an array."""
    return float(array.mean())
