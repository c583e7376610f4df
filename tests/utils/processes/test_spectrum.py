"""Spectra, against SciPy's periodogram and against the sea."""

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
    sea_temperatures,
)
from utils.processes.spectrum import Window, spectrum

# The squares of what is smaller are nothing.
_LEAST = 1e-140
_SIGNALS = hnp.array_shapes(min_dims=1, max_dims=2, max_side=40)


class TestSpectrum:
    @given(
        arrays(*REAL_DTYPES, shape=_SIGNALS, magnitude=1e3),
        st.sampled_from(Window),
        st.floats(1e-3, 1e6),
    )
    def test_as_scipys_periodogram(
        self, array: Array, window: Window, rate: float
    ) -> None:
        found = spectrum(array, sampling_rate=rate, window=window)
        frequencies, power = signal.periodogram(
            array.astype(np.float64),
            rate,
            window.value,
            detrend=False,
            scaling="spectrum",
        )
        # A sine of amplitude a has the power a² / 2; what does not change, and
        # what changes at every sample, has a².
        power[..., 1 : (array.shape[-1] + 1) // 2] *= 2
        np.testing.assert_allclose(found.frequencies, frequencies)
        scale = max(np.abs(array.astype(np.float64)).max(), _LEAST)
        exact = 1e-3 if array.dtype == np.float32 else 1e-7
        np.testing.assert_allclose(
            found.amplitudes, np.sqrt(power), rtol=exact, atol=exact * scale
        )

    @given(arrays("complex64", "complex128", shape=_SIGNALS, magnitude=1e3))
    def test_complex_as_scipys_periodogram(self, array: Array) -> None:
        found = spectrum(array, sampling_rate=2.0)
        frequencies, power = signal.periodogram(
            array.astype(np.complex128),
            2.0,
            "hann",
            detrend=False,
            return_onesided=False,
            scaling="spectrum",
        )
        order = np.argsort(frequencies)
        np.testing.assert_allclose(found.frequencies, frequencies[order])
        np.testing.assert_allclose(
            found.amplitudes,
            np.sqrt(power)[..., order],
            rtol=1e-3,
            atol=1e-3 * max(np.abs(array).max(), _LEAST),
        )

    @pytest.mark.parametrize("window", Window)
    @pytest.mark.parametrize("count", [100, 101])
    def test_a_sine_stands_as_its_amplitude(
        self, window: Window, count: int
    ) -> None:
        times = np.arange(count) / count
        sine = 3 * np.sin(2 * np.pi * 20 * times) + 5
        found = spectrum(sine, sampling_rate=count, window=window)
        assert found.peaks == pytest.approx([20])
        assert found.amplitudes[20] == pytest.approx(3)
        assert found.amplitudes[0] == pytest.approx(5)

    def test_float32_stays_float32(self) -> None:
        found = spectrum(np.ones(8, np.float32))
        assert found.amplitudes.dtype == np.float32

    def test_without_its_mean(self) -> None:
        channels = np.array([[1.0, 2, 3, 2], [7, 7, 7, 7]])
        found = spectrum(channels, window=Window.BOXCAR, remove_mean=True)
        np.testing.assert_allclose(found.amplitudes[:, 0], 0, atol=1e-15)

    def test_one_sample(self) -> None:
        found = spectrum(np.array([4]))
        assert found.frequencies.tolist() == [0]
        assert found.amplitudes.tolist() == [4]
        assert found.peaks == [0]

    @pytest.mark.parametrize(
        "array, said",
        [
            (np.array(1.0), "0 dimensions"),
            (np.ones((2, 2, 2)), "3 dimensions"),
            (np.ones((2, 0)), "is empty"),
            (np.array([1, np.nan]), r"1 of 2 elements .* at \[1\]"),
            (np.array([[1], [np.inf]]), r"at \[1, 0\]"),
        ],
    )
    def test_refused(self, array: Array, said: str) -> None:
        with pytest.raises(ProcessInputError, match=said):
            spectrum(array)


class TestRealSignals:
    def test_the_sea_is_warm_once_a_year(self) -> None:
        temperatures, rate = sea_temperatures()
        found = spectrum(temperatures, sampling_rate=rate, remove_mean=True)
        assert found.peaks[0] == pytest.approx(1, abs=found.resolution)

    def test_the_mains_hum_in_an_electrocardiogram(self) -> None:
        found = spectrum(electrocardiogram(), sampling_rate=ECG_RATE)
        beyond = found.frequencies > 50
        loudest = found.amplitudes[beyond].argmax()
        assert found.frequencies[beyond][loudest] == pytest.approx(60, abs=0.4)
