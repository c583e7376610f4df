"""Statistics of an array, and its normalisation.

Owns no collection. May call: plots.
"""

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, Field

from models.arrays import NDArray
from utils import plots
from utils.array_checks import (
    Array,
    in_double,
    require_finite,
    require_real,
    within_one,
)
from utils.process_options import process

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Operation(StrEnum):
    """What is made of the array, besides its statistics."""

    STATISTICS = "statistics"
    NORMALIZE = "normalize"
    STANDARDIZE = "standardize"
    UNIT = "unit"


class Statistics(BaseModel):
    """Of the finite elements; null where there are none.

    A complex number counts by its magnitude.
    """

    count: int = Field(description="All elements.")
    nan: int = Field(description="Elements that are not a number.")
    infinite: int = Field(description="Elements that are an infinity.")
    sum: float | None
    mean: float | None
    standard_deviation: float | None = Field(
        description="Of all elements as the whole population (ddof 0)."
    )
    minimum: float | None
    lower_quartile: float | None
    median: float | None
    upper_quartile: float | None
    maximum: float | None


class ArrayReport(BaseModel):
    """An array, described and normalised."""

    operation: Operation
    shape: list[int] = Field(description="Of the array that was sent.")
    dtype: str = Field(description="Of the array that was sent.")
    statistics: Statistics = Field(description="Of the array that was sent.")
    array: NDArray | None = Field(
        description="What the operation made of it; null for statistics."
    )

    def plot(self, figure: "Figure") -> None:
        """The array that was made, above a box plot of the one sent."""
        title = f"{self.dtype} array, shape {tuple(self.shape)}"
        if self.array is None or self.array.size == 0:
            box = figure.add_subplot()
            box.set_title(title)
        else:
            above, box = figure.subplots(2, 1, height_ratios=(3, 1))
            above.set_title(f"{title}, after {self.operation}")
            plots.show_array(above, self.array)
        _show_box(box, self.statistics)


@process(example={"array": [1, 2, 4, 8], "operation": "normalize"})
def np_array(
    array: NDArray, *, operation: Operation = Operation.STATISTICS
) -> ArrayReport:
    """Describes an array of any shape, and normalises it on request.

    `statistics` describes it only. `normalize` moves its elements to 0…1 by
    (x - min) / (max - min); `standardize` to mean 0 and standard deviation 1;
    `unit` divides by the Euclidean length, so that the squares add up to 1.
    Elements that are NaN or infinite are counted, left out of the statistics,
    and stay what they are. Constant arrays become zeros. Computed in float64:
    integers above 2⁵³ are rounded.

    Args:
        array: numbers or booleans of any shape; a single number, too.
        operation: what is made of it.

    Raises:
        ProcessInputError: complex numbers are to be moved to 0…1, or some of
            them are NaN or infinite.
    """
    if array.dtype.kind == "c":
        require_finite(array)
    return ArrayReport(
        operation=operation,
        shape=list(array.shape),
        dtype=array.dtype.name,
        statistics=_statistics(array),
        array=_changed(in_double(array), operation),
    )


def _statistics(array: Array) -> Statistics:
    values = in_double(array)
    if array.dtype.kind == "c":
        values = np.abs(values)
    finite = values[np.isfinite(values)]
    nan = int(np.count_nonzero(np.isnan(values)))
    figures: dict[str, float | None] = dict.fromkeys(_FIGURES)
    if finite.size:
        scaled, exponent = within_one(finite)
        low, median, high = np.quantile(scaled, (0.25, 0.5, 0.75))
        found = (
            scaled.sum(),
            scaled.mean(),
            scaled.std(),
            scaled.min(),
            low,
            median,
            high,
            scaled.max(),
        )
        with np.errstate(over="ignore"):
            back = np.ldexp(found, exponent)
        # A sum may be beyond what float64 holds.
        figures = {
            name: float(value) if np.isfinite(value) else None
            for name, value in zip(_FIGURES, back, strict=True)
        }
    return Statistics(
        count=values.size,
        nan=nan,
        infinite=values.size - finite.size - nan,
        **figures,
    )


_FIGURES = (
    "sum",
    "mean",
    "standard_deviation",
    "minimum",
    "lower_quartile",
    "median",
    "upper_quartile",
    "maximum",
)


def _changed(values: Array, operation: Operation) -> Array | None:
    if operation is Operation.STATISTICS:
        return None
    if operation is Operation.NORMALIZE:
        require_real(values)
    known = np.isfinite(values)
    if not np.any(known):
        return values
    scaled, _ = within_one(values)
    finite = scaled[known]
    if operation is Operation.UNIT:
        return _divided(scaled, np.sqrt(np.sum(np.abs(finite) ** 2)))
    if np.all(finite == finite[0]):
        # The mean of equal numbers may differ from them in the last digit.
        return np.where(known, 0, scaled)
    if operation is Operation.NORMALIZE:
        return _divided(scaled - finite.min(), np.ptp(finite))
    return _divided(scaled - finite.mean(), finite.std())


def _divided(values: Array, divisor: float) -> Array:
    # What NumPy makes of arrays without dimensions are not arrays any more.
    return np.asarray(values if divisor == 0 else values / divisor)


def _show_box(axes: "Axes", statistics: Statistics) -> None:
    if statistics.mean is None:
        axes.text(
            0.5,
            0.5,
            f"{statistics.count} elements, none of them finite",
            ha="center",
            transform=axes.transAxes,
        )
        axes.set_axis_off()
        return
    places = {
        "whislo": statistics.minimum,
        "q1": statistics.lower_quartile,
        "med": statistics.median,
        "q3": statistics.upper_quartile,
        "whishi": statistics.maximum,
        "mean": statistics.mean,
    }
    axes.bxp(
        [{**places, "fliers": []}],
        orientation="horizontal",
        showmeans=True,
        widths=0.4,
    )
    axes.set(
        yticks=[],
        ylim=(0.5, 1.5),
        xlabel=f"value: from {statistics.minimum:.4g} to "
        f"{statistics.maximum:.4g}, median {statistics.median:.4g}, "
        f"mean ▲ {statistics.mean:.4g} ± {statistics.standard_deviation:.4g}",
    )
