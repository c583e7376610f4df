"""Filters, against SciPy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from sklearn.datasets import load_sample_image

from models.process_errors import ProcessInputError
from tests.utils.processes.arrays import (
    REAL_DTYPES,
    Array,
    arrays,
    electrocardiogram,
)
from utils.processes.filter import Edge, Kind, filter_array

_SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=8)


class TestGaussian:
    @given(
        arrays(*REAL_DTYPES, "complex64", "complex128", shape=_SHAPES),
        st.floats(0.1, 5),
        st.sampled_from(Edge),
    )
    def test_as_scipy_in_floats(
        self, array: Array, sigma: float, edge: Edge
    ) -> None:
        made = filter_array(array, sigma=sigma, edge=edge).array
        kept = array.dtype in (np.float32, np.complex64)
        floats = array if kept else array.astype(made.dtype)
        assert made.dtype.kind == ("c" if array.dtype.kind == "c" else "f")
        np.testing.assert_array_equal(
            made, ndimage.gaussian_filter(floats, sigma, mode=edge.value)
        )

    def test_whole_numbers_are_not_cut_off(self) -> None:
        """SciPy answers in the dtype that it is asked in."""
        made = filter_array(np.array([0, 1, 0])).array
        assert 0 < made[0] < 1

    def test_a_picture_keeps_its_colours_apart(self) -> None:
        picture = load_sample_image("china.jpg")
        made = filter_array(picture, sigma=3, axes=[0, 1]).array
        assert made.shape == picture.shape
        for colour in range(3):
            np.testing.assert_allclose(
                made[..., colour],
                ndimage.gaussian_filter(
                    picture[..., colour].astype(np.float64), 3
                ),
            )
        assert made.mean() == pytest.approx(picture.mean(), rel=0.01)


class TestMedian:
    @given(
        arrays(*REAL_DTYPES, shape=_SHAPES),
        st.integers(1, 5),
        st.sampled_from(Edge),
    )
    def test_as_numpys_median_of_each_window(
        self, array: Array, size: int, edge: Edge
    ) -> None:
        made = filter_array(array, kind=Kind.MEDIAN, size=size, edge=edge)
        assert made.array.dtype == array.dtype
        expected = ndimage.generic_filter(
            array.astype(np.float64),
            lambda window: np.sort(window)[window.size // 2],
            size,
            mode=edge.value,
        )
        np.testing.assert_array_equal(
            made.array.astype(np.float64), expected
        )

    def test_outliers_go_and_edges_stay(self) -> None:
        steps = np.repeat([0.0, 10.0], 20)
        noisy = steps.copy()
        noisy[[5, 30]] = 1000
        made = filter_array(noisy, kind=Kind.MEDIAN, size=5).array
        np.testing.assert_array_equal(made, steps)

    def test_a_heart_beat_without_spikes(self) -> None:
        signal = electrocardiogram()
        made = filter_array(signal, kind=Kind.MEDIAN, size=101).array
        # What is left is the baseline, which wanders slowly.
        assert np.ptp(made) < np.ptp(signal) / 3


@pytest.mark.parametrize(
    "array, options, said",
    [
        (np.array(1.0), {}, "single number"),
        (np.ones((0, 3)), {}, "is empty"),
        (np.array([1, np.nan]), {}, "NaN or infinite"),
        (np.ones((2, 2)), {"axes": [2]}, "axes from 0 to 1"),
        (np.ones((2, 2)), {"axes": []}, "axes from 0 to 1"),
        (np.array([1j]), {"kind": Kind.MEDIAN}, "is complex"),
        (np.ones((9, 9)), {"kind": Kind.MEDIAN, "size": 101}, "10201"),
    ],
)
def test_refused(array: Array, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ProcessInputError, match=said):
        filter_array(array, **options)
