"""Resample: the same signal in more samples, or in fewer.

Owns no collection. May call: plots.
"""

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from pydantic import BaseModel, Field

from models.arrays import NDArray
from models.process_errors import ProcessInputError
from utils import plots
from utils.array_checks import (
    MAX_ELEMENTS,
    Array,
    in_floats,
    require_elements,
    require_finite,
)
from utils.process_options import process

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The filter of a polyphase has 20 times as many taps.
_MAX_RATIO: Final = 100_000


class Method(StrEnum):
    """How the samples between are found."""

    POLYPHASE = "polyphase"
    FOURIER = "fourier"
    LINEAR = "linear"


class Resampled(BaseModel):
    """A signal with another number of samples over the same time."""

    array: NDArray
    axis: int = Field(description="The axis that time goes along.")
    samples_before: int
    sampling_rate: float = Field(description="The new one, Hz.")
    method: Method

    def plot(self, figure: "Figure") -> None:
        """The new samples over time; a picture as it is."""
        axes = figure.add_subplot()
        count = self.array.shape[self.axis]
        title = f"{self.samples_before} samples as {count}, {self.method}"
        rows = np.moveaxis(self.array, self.axis, -1).reshape(-1, count)
        if len(rows) > len(plots.COLOURS):
            plots.show_array(axes, self.array)
        else:
            times = np.arange(count) / self.sampling_rate
            for number, row in enumerate(rows):
                values = np.abs(row) if np.iscomplexobj(row) else row
                label = f"channel {number}" if len(rows) > 1 else None
                plots.show_line(axes, values, x=times, label=label)
            if len(rows) > 1:
                axes.legend()
            axes.set(xlabel="time / s", ylabel="value")
        axes.set_title(f"{title}, {self.sampling_rate:.4g} Hz")


@process(example={"array": [0, 1, 2, 3], "samples": 8})
def resample(
    array: NDArray,
    *,
    samples: Annotated[int, Field(ge=1, le=MAX_ELEMENTS)],
    method: Method = Method.POLYPHASE,
    sampling_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0,
    axis: int = -1,
) -> Resampled:
    """Brings a signal to another number of samples over the same time.

    Sample i of the result is the signal at i × old ÷ new samples. `polyphase`
    filters what the new rate can't hold and fits most signals; `fourier` is
    exact for signals that repeat within the array, and rings at the ends of
    others; `linear` draws straight lines, never overshoots, and does not filter
    when it takes samples away.

    Args:
        array: a signal, or several along other axes; it may be complex.
        samples: how many the result has along the axis.
        method: how the samples between are found.
        sampling_rate: of what was sent, Hz.
        axis: the one that time goes along, from the end when negative.

    Raises:
        ProcessInputError: the array is empty, a single number, or holds NaN or
            an infinity; the axis is not there; the result would have more than
            50 million elements, or the two numbers of samples no common factor
            that makes a polyphase possible.
    """
    require_elements(array)
    require_finite(array)
    if not -array.ndim <= axis < array.ndim:
        raise ProcessInputError(
            f"The array has {array.ndim} dimensions, and no axis {axis}."
        )
    axis %= array.ndim
    before = array.shape[axis]
    if array.size // before * samples > MAX_ELEMENTS:
        raise ProcessInputError(
            f"The result would have {array.size // before * samples} "
            f"elements, and {MAX_ELEMENTS} are allowed; send fewer samples."
        )
    return Resampled(
        array=_resampled(in_floats(array), samples, method, axis),
        axis=axis,
        samples_before=before,
        sampling_rate=sampling_rate * samples / before,
        method=method,
    )


def _resampled(array: Array, samples: int, method: Method, axis: int) -> Array:
    # pylint: disable-next=import-outside-toplevel  # see utils.processes
    from scipy import signal

    before = array.shape[axis]
    if method is Method.LINEAR:
        return _on_lines(array, samples, axis)
    if method is Method.FOURIER:
        by_fourier: Array = signal.resample(array, samples, axis=axis)
        return by_fourier
    common = math.gcd(samples, before)
    up, down = samples // common, before // common
    if max(up, down) > _MAX_RATIO:
        raise ProcessInputError(
            f"{before} and {samples} samples have no common factor that makes "
            "a polyphase possible; send a rounder number, or method fourier."
        )
    # Beyond its ends the signal is thought to go on along a straight line: with
    # SciPy's default, zeros, it would sink at both of them.
    by_phases: Array = signal.resample_poly(
        array, up, down, axis=axis, padtype="line"
    )
    return by_phases


def _on_lines(array: Array, samples: int, axis: int) -> Array:
    before = array.shape[axis]
    places = np.minimum(np.arange(samples) * (before / samples), before - 1)
    left = places.astype(np.intp)
    right = np.minimum(left + 1, before - 1)
    shape = [1] * array.ndim
    shape[axis] = samples
    share = (places - left).reshape(shape).astype(array.real.dtype)
    start, end = array.take(left, axis), array.take(right, axis)
    # This form can't leave what lies between the two, whatever is rounded.
    between: Array = start * (1 - share) + end * share
    return between
