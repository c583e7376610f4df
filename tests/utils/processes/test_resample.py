"""Resampling, against SciPy, NumPy and what is known of signals."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import signal

from models.process_errors import ProcessInputError
from tests.utils.processes.arrays import (
    ECG_RATE,
    REAL_DTYPES,
    Array,
    arrays,
    electrocardiogram,
)
from utils.processes.resample import Method, resample

_SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=12)
_COUNTS = st.integers(1, 40)


class TestResample:
    @given(arrays(*REAL_DTYPES, "complex128", shape=_SHAPES), _COUNTS)
    def test_polyphase_as_scipy(self, array: Array, samples: int) -> None:
        made = resample(array, samples=samples).array
        before = array.shape[-1]
        common = math.gcd(before, samples)
        expected = signal.resample_poly(
            array.astype(made.dtype),
            samples // common,
            before // common,
            axis=-1,
            padtype="line",
        )
        assert made.shape == (*array.shape[:-1], samples)
        np.testing.assert_array_equal(made, expected)

    @given(arrays(*REAL_DTYPES, "complex128", shape=_SHAPES), _COUNTS)
    def test_fourier_as_scipy(self, array: Array, samples: int) -> None:
        made = resample(array, samples=samples, method=Method.FOURIER, axis=0)
        expected = signal.resample(array.astype(made.array.dtype), samples)
        assert made.array.shape == (samples, *array.shape[1:])
        np.testing.assert_array_equal(made.array, expected)

    @given(arrays(*REAL_DTYPES, shape=_SHAPES), _COUNTS, st.data())
    def test_linear_as_numpy(
        self, array: Array, samples: int, data: st.DataObject
    ) -> None:
        axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
        made = resample(
            array, samples=samples, method=Method.LINEAR, axis=axis
        ).array
        before = array.shape[axis]
        places = np.arange(samples) * (before / samples)
        expected = np.apply_along_axis(
            lambda row: np.interp(places, np.arange(before), row),
            axis,
            array.astype(np.float64),
        )
        scale = np.abs(array.astype(np.float64)).max()
        exact = 1e-6 if made.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(made, expected, exact, exact * scale)

    @pytest.mark.parametrize("method", Method)
    @pytest.mark.parametrize("samples", [25, 99, 100, 101, 400])
    def test_what_does_not_change_stays(
        self, method: Method, samples: int
    ) -> None:
        made = resample(np.full(100, 3), samples=samples, method=method).array
        np.testing.assert_allclose(made, 3, rtol=1e-2)

    def test_a_sine_at_another_rate(self) -> None:
        times = np.arange(200) / 100
        sine = np.sin(2 * np.pi * 5 * times)
        made = resample(
            sine, samples=500, sampling_rate=100, method=Method.FOURIER
        )
        assert made.sampling_rate == 250
        assert made.samples_before == 200
        later = np.arange(500) / 250
        np.testing.assert_allclose(
            made.array, np.sin(2 * np.pi * 5 * later), atol=1e-9
        )

    def test_heart_beats_keep_their_time(self) -> None:
        beats = electrocardiogram()
        made = resample(beats, samples=512, sampling_rate=ECG_RATE)
        assert made.array.argmax() * 2 == pytest.approx(beats.argmax(), abs=2)
        assert made.sampling_rate == 180

    def test_float32_stays_float32(self) -> None:
        for method in Method:
            made = resample(np.ones(6, np.float32), samples=9, method=method)
            assert made.array.dtype == np.float32

    @pytest.mark.parametrize(
        "array, options, said",
        [
            (np.array(1.0), {"samples": 2}, "no axis -1"),
            (np.ones((2, 2)), {"samples": 2, "axis": 2}, "no axis 2"),
            (np.ones((3, 0)), {"samples": 2}, "is empty"),
            (np.array([np.inf]), {"samples": 2}, "NaN or infinite"),
            (np.ones((60, 2)), {"samples": 1_000_000}, "60000000 elements"),
            (np.ones(9), {"samples": 1_000_003}, "no common factor"),
        ],
    )
    def test_refused(
        self, array: Array, options: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(ProcessInputError, match=said):
            resample(array, **options)
