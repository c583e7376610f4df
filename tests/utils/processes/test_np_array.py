"""Statistics and normalisation, against NumPy."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import pytest
from hypothesis import given

from models.process_errors import ProcessInputError
from tests.utils.processes.arrays import (
    REAL_DTYPES,
    Array,
    arrays,
    electrocardiogram,
)
from utils.processes.np_array import Operation, np_array

_NUMPY: Final[Mapping[str, Callable[[Array], float]]] = {
    "sum": np.sum,
    "mean": np.mean,
    "standard_deviation": np.std,
    "minimum": np.min,
    "lower_quartile": lambda values: np.quantile(values, 0.25),
    "median": np.median,
    "upper_quartile": lambda values: np.quantile(values, 0.75),
    "maximum": np.max,
}


def _finite(array: Array) -> Array:
    if array.dtype.kind == "c":
        array = np.abs(array.astype(np.complex128))
    doubles = array.astype(np.float64)
    return doubles[np.isfinite(doubles)]


class TestStatistics:
    @given(arrays(*REAL_DTYPES, "complex64", "complex128", finite=True))
    def test_as_numpy(self, array: Array) -> None:
        found = np_array(array).statistics
        values = _finite(array)
        assert found.count == array.size
        for name, reference in _NUMPY.items():
            value = getattr(found, name)
            if values.size == 0:
                assert value is None
            else:
                assert value == pytest.approx(
                    reference(values), rel=1e-9, abs=1e-9
                ), name

    @given(arrays("float32", "float64", finite=False))
    def test_what_is_not_finite_is_counted_and_left_out(
        self, array: Array
    ) -> None:
        found = np_array(array).statistics
        assert found.nan == np.isnan(array).sum()
        assert found.infinite == np.isinf(array).sum()
        values = _finite(array)
        if values.size:
            assert found.mean == pytest.approx(values.mean(), rel=1e-9)
            assert found.maximum == values.max()

    @pytest.mark.parametrize("size", [1e300, 1e-300])
    def test_squares_do_not_leave_float64(self, size: float) -> None:
        found = np_array(np.array([1.0, 2, 3]) * size).statistics
        assert found.standard_deviation == pytest.approx(
            np.std([1, 2, 3]) * size
        )

    def test_a_sum_beyond_float64_is_none(self) -> None:
        found = np_array(np.full(4, 1e308)).statistics
        assert found.sum is None
        assert found.mean == pytest.approx(1e308)

    def test_a_single_number(self) -> None:
        report = np_array(np.array(7))
        assert report.shape == []
        assert report.dtype == "int64"
        assert report.array is None
        assert report.statistics.median == 7

    def test_an_electrocardiogram(self) -> None:
        signal = electrocardiogram()
        found = np_array(signal).statistics
        assert (found.minimum, found.maximum) == (signal.min(), signal.max())
        assert found.median == np.median(signal)


class TestNormalize:
    @given(arrays(*REAL_DTYPES, finite=True))
    def test_goes_from_zero_to_one(self, array: Array) -> None:
        made = np_array(array, operation=Operation.NORMALIZE).array
        assert made is not None
        assert made.shape == array.shape
        assert made.dtype == np.float64
        values = array.astype(np.float64)
        if array.size and np.ptp(values):
            assert (made.min(), made.max()) == (0, 1)
            expected = (values - values.min()) / np.ptp(values)
            np.testing.assert_allclose(made, expected, rtol=1e-12)
        else:
            assert not made.any()

    @given(arrays("float64", finite=False))
    def test_what_is_not_finite_stays(self, array: Array) -> None:
        made = np_array(array, operation=Operation.NORMALIZE).array
        assert made is not None
        odd = ~np.isfinite(array)
        np.testing.assert_array_equal(made[odd], array[odd])
        assert np.all((made[~odd] >= 0) & (made[~odd] <= 1))

    def test_the_widest_range(self) -> None:
        widest = np.array([-1.7e308, 0, 1.7e308])
        made = np_array(widest, operation=Operation.NORMALIZE).array
        np.testing.assert_allclose(made, [0, 0.5, 1])  # type: ignore[arg-type]

    def test_complex_numbers_have_no_least(self) -> None:
        with pytest.raises(ProcessInputError, match="send its real part"):
            np_array(np.array([1j]), operation=Operation.NORMALIZE)


class TestStandardize:
    @given(arrays(*REAL_DTYPES, "complex128", finite=True))
    def test_as_numpy(self, array: Array) -> None:
        made = np_array(array, operation=Operation.STANDARDIZE).array
        assert made is not None
        values = array.astype(made.dtype)
        if values.size and np.any(values != values.flat[0]):
            # NumPy's own squares are zero below 1e-162.
            values = values / np.abs(values).max()
            expected = (values - values.mean()) / values.std()
            np.testing.assert_allclose(made, expected, rtol=1e-6, atol=1e-6)
        else:
            assert not made.any()

    def test_a_constant_becomes_zeros(self) -> None:
        """The mean of three times 0.1 is not 0.1."""
        made = np_array(np.full(3, 0.1), operation=Operation.STANDARDIZE).array
        assert made is not None
        assert not made.any()


class TestUnit:
    @given(arrays(*REAL_DTYPES, "complex64", finite=True))
    def test_as_numpy(self, array: Array) -> None:
        made = np_array(array, operation=Operation.UNIT).array
        assert made is not None
        if np.any(array):
            # NumPy's own squares are zero below 1e-162.
            values = array.astype(made.dtype)
            values = values / np.abs(values).max()
            expected = values / np.linalg.norm(values.ravel())
            np.testing.assert_allclose(made, expected, rtol=1e-9)
            assert np.linalg.norm(made.ravel()) == pytest.approx(1)
        else:
            assert not made.any()

    def test_complex_numbers_must_be_finite(self) -> None:
        with pytest.raises(ProcessInputError, match=r"first one at \[1\]"):
            np_array(np.array([1j, np.nan]), operation=Operation.UNIT)
