"""Array checks: what a process asks of an array before it computes.

Owns no collection. May call: nobody. Each refusal is a sentence for whoever
sent the array: what is wrong, and what to send instead.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.process_errors import ProcessInputError

Array = NDArray[Any]

# No answer is larger, however it was asked for: 400 MB of float64.
MAX_ELEMENTS: Final = 50_000_000


def require_dimensions(array: Array, *allowed: int, meaning: str) -> None:
    """Checks how many dimensions an array has.

    Args:
        array: what was sent.
        allowed: the numbers of dimensions that fit.
        meaning: what the array should be, for the sentence.

    Raises:
        ProcessInputError: it has another number of them.
    """
    if array.ndim not in allowed:
        raise ProcessInputError(
            f"The array has {array.ndim} dimensions, its shape is "
            f"{array.shape}; send {meaning}."
        )


def require_elements(array: Array) -> None:
    """Checks that there is something to compute with.

    Raises:
        ProcessInputError: the array is empty.
    """
    if array.size == 0:
        raise ProcessInputError(
            f"The array is empty, its shape is {array.shape}; send at least "
            "one element."
        )


def require_real(array: Array) -> None:
    """Checks that the elements can be ordered.

    Raises:
        ProcessInputError: they are complex.
    """
    if array.dtype.kind == "c":
        raise ProcessInputError(
            "The array is complex; send its real part, its magnitude or its "
            "phase."
        )


def require_finite(array: Array) -> None:
    """Checks that each element is a number.

    Raises:
        ProcessInputError: NaN or an infinity is among them; says how many,
            and where the first one is.
    """
    if array.dtype.kind not in "fc":
        return
    bad = ~np.isfinite(array)
    count = int(np.count_nonzero(bad))
    if count:
        first = np.unravel_index(int(np.argmax(bad)), array.shape)
        place = ", ".join(str(int(index)) for index in first)
        raise ProcessInputError(
            f"{count} of {array.size} elements are NaN or infinite, the first "
            f"one at [{place}]; remove them, or fill them in."
        )


def in_double(array: Array) -> Array:
    """The array as float64, or complex128 where it is complex."""
    kind = np.complex128 if array.dtype.kind == "c" else np.float64
    return array.astype(kind, copy=False)


def in_floats(array: Array) -> Array:
    """As `in_double`, but float32 and complex64 stay what they are."""
    if array.dtype in (np.float32, np.complex64):
        return array
    return in_double(array)


def within_one(values: Array) -> tuple[Array, int]:
    """Finite elements brought to -1…1 by a power of two; and its exponent.

    It rounds nothing, and keeps sums and squares within float64: numbers of
    1e200 have a standard deviation.

    Returns:
        The array divided by 2 to the power of the number beside it.
    """
    finite = np.isfinite(values)
    parts = [values.real, values.imag] if np.iscomplexobj(values) else [values]
    largest = max(np.max(np.abs(p), where=finite, initial=0) for p in parts)
    exponent = int(np.frexp(largest)[1])
    scaled = [np.ldexp(part, -exponent) for part in parts]
    if len(scaled) == 1:
        return scaled[0], exponent
    return scaled[0] + 1j * scaled[1], exponent


def samples_of(array: Array, *, at_least: int) -> Array:
    """Samples × features, in float64, of an array that holds one a row.

    Args:
        array: samples along the first axis; what a sample is made of along the
            others, as the rows and columns of pictures.
        at_least: how many samples are needed.

    Raises:
        ProcessInputError: it has one dimension or none, too few samples, no
            features, or elements that are complex, NaN or infinite.
    """
    if array.ndim < 2:
        raise ProcessInputError(
            f"The array has {array.ndim} dimensions; send samples × features, "
            "one sample a row."
        )
    require_elements(array)
    require_real(array)
    require_finite(array)
    if len(array) < at_least:
        raise ProcessInputError(
            f"There are {len(array)} samples, and at least {at_least} are "
            "needed; send one sample a row."
        )
    return in_double(array).reshape(len(array), -1)
