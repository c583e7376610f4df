"""Arrays for the tests of processes: made up, and real."""

from typing import Any, Final

import numpy as np
import pywt.data
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

Array = NDArray[Any]

REAL_DTYPES: Final = (
    "bool",
    "int8",
    "uint8",
    "int32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
)

# What fits a float of so many bits.
_TOPS: Final = {16: 60_000.0, 32: float(np.float32(3e38))}

# The rate at which the electrocardiogram of PyWavelets was taken, Hz.
ECG_RATE: Final = 360.0


def arrays(
    *dtypes: str,
    shape: st.SearchStrategy[tuple[int, ...]] | None = None,
    finite: bool = True,
    magnitude: float = 1e6,
) -> st.SearchStrategy[Array]:
    """Arrays of any of the dtypes, empty and 0-d ones among them.

    Args:
        dtypes: of which.
        shape: of which; up to three dimensions without it.
        finite: whether all elements are.
        magnitude: the largest element, up or down.
    """
    if shape is None:
        shape = hnp.array_shapes(min_dims=0, min_side=0, max_side=8)
    return st.sampled_from(dtypes).flatmap(
        lambda dtype: hnp.arrays(
            dtype, shape, elements=_elements(dtype, finite, magnitude)
        )
    )


def electrocardiogram() -> Array:
    """Three heart beats, 1024 samples."""
    return np.asarray(pywt.data.ecg(), np.float64)


def sea_temperatures() -> tuple[Array, float]:
    """The Pacific's surface off Peru by quarter of a year, °C; and the rate."""
    years, temperatures = pywt.data.nino()
    return np.asarray(temperatures), 1 / float(years[1] - years[0])


def _elements(
    dtype: str, finite: bool, magnitude: float
) -> st.SearchStrategy[Any] | None:
    kind, bits = np.dtype(dtype).kind, 8 * np.dtype(dtype).itemsize
    if kind == "c":
        part = _floats(bits // 2, finite, magnitude)
        return st.builds(complex, part, part)
    if kind == "f":
        return _floats(bits, finite, magnitude)
    return None


def _floats(
    bits: int, finite: bool, magnitude: float
) -> st.SearchStrategy[float]:
    top = min(magnitude, _TOPS.get(bits, magnitude))
    known = st.floats(
        -top,
        top,
        width=16 if bits == 16 else 32 if bits == 32 else 64,
        allow_subnormal=False,
    )
    if finite:
        return known
    return known | st.sampled_from((np.nan, np.inf, -np.inf))
