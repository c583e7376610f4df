"""Histogram: how often which values occur."""

from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from pydantic import BaseModel, Field

from models.arrays import NDArray
from models.process_errors import ProcessInputError
from utils.array_checks import (
    Array,
    in_double,
    require_elements,
    require_real,
)
from utils.process_options import process

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_BINS: Final = 10_000
# Nobody asked for more; edges far away would make NumPy's rule make billions.
_MAX_CHOSEN_BINS: Final = 500

_Bound = Annotated[float, Field(allow_inf_nan=False)] | None


class Histogram(BaseModel):
    """Counts of elements between edges."""

    counts: NDArray = Field(description="Elements in each bin.")
    edges: NDArray = Field(
        description="One more than bins; a bin holds its lower edge, and the "
        "last one its upper edge too."
    )
    below: int = Field(description="Elements below the first edge.")
    above: int = Field(description="Elements above the last edge.")
    nan: int = Field(description="Elements that are not a number.")

    def plot(self, figure: "Figure") -> None:
        """A bar for each bin."""
        axes = figure.add_subplot()
        axes.stairs(self.counts, self.edges, fill=True)
        out = {"below": self.below, "above": self.above, "NaN": self.nan}
        beside = [f"{count} {where}" for where, count in out.items() if count]
        axes.set(
            title=f"{int(self.counts.sum())} elements in {self.counts.size} "
            + ", ".join(["bins", *beside]),
            xlabel="value",
            ylabel="elements",
        )
        axes.margins(x=0)


@process(example={"array": [1, 2, 2, 3, 9], "bins": 4})
def histogram(
    array: NDArray,
    *,
    bins: Annotated[int, Field(ge=1, le=_MAX_BINS)] | None = None,
    low: _Bound = None,
    high: _Bound = None,
) -> Histogram:
    """Counts how often which values occur.

    Args:
        array: real numbers or booleans of any shape.
        bins: how many, of one width; without it as many as NumPy's rule
            `auto` makes, and no more than 500.
        low: the first edge; the smallest finite element without it.
        high: the last edge; the largest finite element without it.

    Raises:
        ProcessInputError: the array is empty or complex, holds no finite
            element where an edge is to be found, or the edges can't be told
            apart.
    """
    require_elements(array)
    require_real(array)
    values = in_double(array).ravel()
    finite = values[np.isfinite(values)]
    if finite.size == 0 and (low is None or high is None):
        raise ProcessInputError(
            "No element is finite; send low and high, or other numbers."
        )
    first = float(finite.min()) if low is None else low
    last = float(finite.max()) if high is None else high
    if first > last or not np.isfinite(last - first):
        raise ProcessInputError(
            f"The first edge, {first:g}, is above the last one, {last:g}, or "
            "further from it than float64 reaches."
        )
    if bins is None:
        inside = finite[(finite >= first) & (finite <= last)]
        bins = _chosen_bins(inside, first, last, array.dtype.kind in "iu")
    try:
        counts, edges = np.histogram(finite, bins, (first, last))
    except ValueError as error:
        raise ProcessInputError(
            f"Between {first:g} and {last:g} there is no room for {bins} bins "
            "in float64; send fewer bins, or other edges."
        ) from error
    return Histogram(
        counts=counts,
        edges=edges,
        below=int(np.count_nonzero(values < edges[0])),
        above=int(np.count_nonzero(values > edges[-1])),
        nan=int(np.count_nonzero(np.isnan(values))),
    )


def _chosen_bins(
    inside: Array, first: float, last: float, whole: bool
) -> int:
    """What NumPy's rule `auto` makes, reckoned before it takes memory.

    The narrower one of Sturges' and of Freedman and Diaconis' widths, this one
    no narrower than half of the square root's; whole numbers are 1 apart.
    """
    span = last - first
    if inside.size == 0 or span == 0:
        return 1
    spread = float(np.ptp(inside))
    low, high = np.quantile(inside, (0.25, 0.75))
    width = min(
        max(
            2 * float(high - low) * inside.size ** (-1 / 3),
            spread / np.sqrt(inside.size) / 2,
        ),
        spread / (np.log2(inside.size) + 1),
    )
    if whole:
        width = max(width, 1)
    if width == 0 or not np.isfinite(span / width):
        return 1
    return int(min(max(np.ceil(span / width), 1), _MAX_CHOSEN_BINS))
