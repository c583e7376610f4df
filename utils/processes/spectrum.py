"""Spectrum: which frequencies a signal is made of.

Owns no collection. May call: plots.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, Field

from models.arrays import NDArray
from utils import plots
from utils.array_checks import (
    Array,
    in_floats,
    require_dimensions,
    require_elements,
    require_finite,
)
from utils.process_options import process

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Window(StrEnum):
    """What a signal is weighted with, so that its ends meet."""

    BOXCAR = "boxcar"
    HANN = "hann"
    HAMMING = "hamming"
    BLACKMAN = "blackman"
    FLATTOP = "flattop"


class Spectrum(BaseModel):
    """Amplitudes by frequency."""

    frequencies: NDArray = Field(description="Hz, ascending.")
    amplitudes: NDArray = Field(
        description="In the unit of the signal; one row for each channel."
    )
    peaks: list[float] = Field(
        description="Of each channel without its mean the strongest "
        "frequency, Hz."
    )
    resolution: float = Field(description="Between two frequencies, Hz.")
    sampling_rate: float = Field(description="Hz.")
    window: Window

    def plot(self, figure: "Figure") -> None:
        """Amplitude over frequency, with the peak of each channel."""
        axes = figure.add_subplot()
        channels = np.atleast_2d(self.amplitudes)[: len(plots.COLOURS)]
        for number, (channel, peak) in enumerate(
            zip(channels, self.peaks, strict=False)
        ):
            label = f"peak at {peak:.4g} Hz"
            if len(channels) > 1:
                label = f"channel {number}: {label}"
            plots.show_line(axes, channel, x=self.frequencies, label=label)
            nearest = np.argmin(np.abs(self.frequencies - peak))
            axes.plot(
                self.frequencies[nearest],
                channel[nearest],
                marker="v",
                color=plots.COLOURS[number],
            )
        axes.set_ylim(bottom=0)
        axes.set(
            title=f"Spectrum, {self.window} window, steps of "
            f"{self.resolution:.3g} Hz",
            xlabel="frequency / Hz",
            ylabel="amplitude / unit of the signal",
        )
        axes.legend()


@process(
    example={"array": [0, 1, 0, -1, 0, 1, 0, -1], "sampling_rate": 8},
)
def spectrum(
    array: NDArray,
    *,
    sampling_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0,
    window: Window = Window.HANN,
    remove_mean: bool = False,
) -> Spectrum:
    """Finds the frequencies that a signal is made of, by a Fourier transform.

    A sine of amplitude 3 whose frequency is a whole multiple of the resolution
    stands as 3 at that frequency, whatever the window. Of a real signal the
    frequencies go from 0 to half the sampling rate, of a complex one from
    minus to plus half of it.

    Args:
        array: a signal, or rows of channels by columns of samples.
        sampling_rate: samples a second, Hz; with the default a frequency is
            in cycles a sample.
        window: hann for most; boxcar for signals that repeat within the array,
            flattop for exact amplitudes between two steps of frequency.
        remove_mean: whether each channel's mean is taken off before.

    Raises:
        ProcessInputError: the array is empty, has more than two dimensions,
            or holds NaN or an infinity.
    """
    # pylint: disable-next=import-outside-toplevel  # see utils.processes
    from scipy import fft, signal

    require_dimensions(
        array, 1, 2, meaning="a signal, or rows of channels by samples"
    )
    require_elements(array)
    require_finite(array)
    samples = in_floats(array)
    count = samples.shape[-1]
    weights = signal.get_window(window.value, count).astype(samples.real.dtype)
    mean = samples.mean(axis=-1, keepdims=True)
    changing = _transformed((samples - mean) * weights)
    whole = changing
    if not remove_mean:
        whole = changing + mean * _transformed(weights.astype(samples.dtype))
    amplitudes = np.abs(whole) / float(weights.sum(dtype=np.float64))
    if np.iscomplexobj(samples):
        frequencies = fft.fftshift(fft.fftfreq(count, 1 / sampling_rate))
    else:
        frequencies = fft.rfftfreq(count, 1 / sampling_rate)
        # Each frequency stands for its negative one too; 0 and, of an even
        # count, half the sampling rate are their own.
        amplitudes[..., 1 : (count + 1) // 2] *= 2
    return Spectrum(
        frequencies=frequencies,
        amplitudes=amplitudes,
        peaks=_peaks(frequencies, changing),
        resolution=sampling_rate / count,
        sampling_rate=sampling_rate,
        window=window,
    )


def _transformed(samples: Array) -> Array:
    """By frequency, from the lowest: of real samples 0, of complex ones -½."""
    # pylint: disable-next=import-outside-toplevel  # see utils.processes
    from scipy import fft

    if np.iscomplexobj(samples):
        shifted: Array = fft.fftshift(fft.fft(samples), axes=-1)
        return shifted
    positive: Array = fft.rfft(samples)
    return positive


def _peaks(frequencies: Array, changing: Array) -> list[float]:
    """The strongest frequencies of channels without their means.

    A window smears a mean over its neighbours, where it would be the peak of
    most signals.
    """
    heights = np.abs(np.atleast_2d(changing))
    if frequencies.size > 1:
        heights[:, frequencies == 0] = -1
    found: list[float] = frequencies[heights.argmax(axis=-1)].tolist()
    return found
