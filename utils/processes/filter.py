"""Filter: a signal or a picture, made smooth.

Owns no collection. May call: plots.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Literal

import numpy as np
from pydantic import BaseModel, Field

from models.arrays import NDArray
from models.process_errors import ProcessInputError
from utils import plots
from utils.array_checks import (
    Array,
    in_floats,
    require_elements,
    require_finite,
    require_real,
)
from utils.process_options import process

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A median looks at so many neighbours of each element at most.
_MAX_NEIGHBOURS: Final = 10_000


class Kind(StrEnum):
    """How neighbours are taken together."""

    GAUSSIAN = "gaussian"
    MEDIAN = "median"


class Edge(StrEnum):
    """What is thought to be beyond the edge, as SciPy names it."""

    REFLECT = "reflect"
    NEAREST = "nearest"
    MIRROR = "mirror"
    WRAP = "wrap"


# What NumPy calls them.
_PADDINGS: Final[
    Mapping[Edge, Literal["symmetric", "edge", "reflect", "wrap"]]
] = {
    Edge.REFLECT: "symmetric",
    Edge.NEAREST: "edge",
    Edge.MIRROR: "reflect",
    Edge.WRAP: "wrap",
}


class Filtered(BaseModel):
    """The array, filtered."""

    array: NDArray = Field(description="Of the same shape.")
    kind: Kind
    extent: float = Field(
        description="Elements: sigma of the Gaussian, width of the median."
    )

    def plot(self, figure: "Figure") -> None:
        """The filtered array."""
        axes = figure.add_subplot()
        plots.show_array(axes, self.array)
        how = "sigma" if self.kind is Kind.GAUSSIAN else "width"
        axes.set_title(
            f"After the {self.kind} filter, {how} {self.extent:g} elements"
        )


@process(
    path="filter",
    example={"array": [1, 1, 9, 1, 1], "kind": "median", "size": 3},
)
def filter_array(
    array: NDArray,
    *,
    kind: Kind = Kind.GAUSSIAN,
    sigma: Annotated[float, Field(gt=0, le=1000)] = 1.0,
    size: Annotated[int, Field(ge=1, le=1001)] = 3,
    edge: Edge = Edge.REFLECT,
    axes: Annotated[list[int], Field(max_length=8)] | None = None,
) -> Filtered:
    """Smooths an array by a Gaussian or a median filter.

    The Gaussian averages away noise and blurs edges; the median removes single
    outliers and keeps edges. float32 and complex64 stay so in the Gaussian,
    everything else becomes float64 or complex128; the median keeps the dtype.

    Args:
        array: of any shape with at least one dimension.
        kind: which filter.
        sigma: standard deviation of the Gaussian, elements; it looks at four
            times as many to each side.
        size: width of the median's window along each axis, elements.
        edge: what is thought to be beyond the edge.
        axes: the axes to filter along; all without it. A picture of height ×
            width × colour is filtered along 0 and 1.

    Raises:
        ProcessInputError: the array is empty, a single number, or holds NaN or
            an infinity; an axis is not there; the median is of complex numbers,
            or of more than 10 000 neighbours.
    """
    # pylint: disable-next=import-outside-toplevel  # see utils.processes
    from scipy import ndimage

    if array.ndim == 0:
        raise ProcessInputError(
            "A single number has no neighbours; send an array of at least one "
            "dimension."
        )
    require_elements(array)
    require_finite(array)
    along = _checked_axes(axes, array.ndim)
    if kind is Kind.GAUSSIAN:
        smooth: Array = ndimage.gaussian_filter(
            in_floats(array), sigma, mode=edge.value, axes=along
        )
        return Filtered(array=smooth, kind=kind, extent=sigma)
    require_real(array)
    if size ** len(along) > _MAX_NEIGHBOURS:
        raise ProcessInputError(
            f"A median of {size} along {len(along)} axes takes "
            f"{size ** len(along)} neighbours of each element, and "
            f"{_MAX_NEIGHBOURS} are allowed; send a smaller size, or fewer "
            "axes."
        )
    smooth = _medians(array, size, edge, along)
    return Filtered(array=smooth, kind=kind, extent=size)


def _medians(
    array: Array, size: int, edge: Edge, along: tuple[int, ...]
) -> Array:
    # pylint: disable-next=import-outside-toplevel  # see utils.processes
    from scipy import ndimage

    # SciPy knows neither half floats nor booleans here.
    known = {"float16": np.float32, "bool": np.uint8}.get(array.dtype.name)
    values = array if known is None else array.astype(known)
    beyond = 0
    if array.ndim == 1 and array.size <= size:
        # There SciPy 1.17 reads memory before the array, whatever it holds.
        beyond = size
        values = np.pad(values, beyond, mode=_PADDINGS[edge])
    smooth = ndimage.median_filter(values, size, mode=edge.value, axes=along)
    if beyond:
        smooth = smooth[beyond:-beyond]
    return smooth.astype(array.dtype, copy=False)


def _checked_axes(axes: list[int] | None, dimensions: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(dimensions))
    if not axes or not all(-dimensions <= each < dimensions for each in axes):
        raise ProcessInputError(
            f"The array has {dimensions} dimensions: send axes from 0 to "
            f"{dimensions - 1}, or none for all."
        )
    return tuple(sorted({each % dimensions for each in axes}))
