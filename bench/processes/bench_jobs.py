"""The jobs of a benchmark, as they would be found in `utils/processes/`."""

from bench import jobs
from models.arrays import NDArray


def bench_nothing() -> None:
    """Does nothing."""
    jobs.nothing()


def bench_mean(array: NDArray) -> float:
    """The mean of an array."""
    return jobs.mean(array)
