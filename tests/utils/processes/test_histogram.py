"""Histograms, against NumPy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.datasets import load_sample_image

from models.process_errors import ProcessInputError
from tests.utils.processes.arrays import REAL_DTYPES, Array, arrays
from utils.processes.histogram import histogram

_SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, max_side=12)


class TestHistogram:
    @given(arrays(*REAL_DTYPES, shape=_SHAPES), st.integers(1, 50))
    def test_as_numpy(self, array: Array, bins: int) -> None:
        values = array.astype(np.float64)
        # Numbers that are neighbours in float64 have no room between them.
        assume(values.size == 1 or np.ptp(values) > 1e-9 * np.abs(values).max())
        assume(np.ptp(values) or np.abs(values).max() < 1e9)
        found = histogram(array, bins=bins)
        counts, edges = np.histogram(values, bins)
        np.testing.assert_array_equal(found.counts, counts)
        np.testing.assert_array_equal(found.edges, edges)
        assert (found.below, found.above, found.nan) == (0, 0, 0)

    @given(arrays("float64", finite=False), st.floats(-9, 0), st.floats(1, 9))
    def test_every_element_counts_once(
        self, array: Array, low: float, high: float
    ) -> None:
        assume(array.size)
        found = histogram(array, bins=7, low=low, high=high)
        inside = int(found.counts.sum())
        assert inside + found.below + found.above + found.nan == array.size
        assert found.below == np.count_nonzero(array < low)
        assert found.above == np.count_nonzero(array > high)

    @given(
        arrays(
            "int16",
            "uint8",
            "float64",
            shape=hnp.array_shapes(max_dims=1, min_side=2, max_side=200),
            magnitude=1e3,
        )
    )
    def test_as_many_bins_as_numpy_chooses(self, array: Array) -> None:
        values = array.astype(np.float64)
        assume(np.ptp(values) > 1e-6)
        found = histogram(array)
        # NumPy's rule overflows where integers are short.
        wide = array if array.dtype.kind == "f" else array.astype(np.int64)
        edges = np.histogram_bin_edges(wide, "auto")
        assert found.counts.size == min(edges.size - 1, 500)

    def test_edges_far_away_do_not_take_all_memory(self) -> None:
        """NumPy's own rule would make 20 billion bins."""
        found = histogram(np.linspace(0, 1, 1000), low=-1e9, high=1e9)
        assert found.counts.size == 500
        assert found.counts.sum() == 1000

    def test_the_greys_of_a_photo(self) -> None:
        photo = load_sample_image("china.jpg")
        found = histogram(photo, bins=256, low=0, high=256)
        np.testing.assert_array_equal(
            found.counts, np.bincount(photo.ravel(), minlength=256)
        )

    def test_all_the_same(self) -> None:
        found = histogram(np.full(5, 2.0))
        assert found.counts.tolist() == [5]
        assert found.edges[0] < 2 < found.edges[-1]

    @pytest.mark.parametrize(
        "array, options, said",
        [
            (np.ones((0,)), {}, "is empty"),
            (np.array([1j]), {}, "is complex"),
            (np.array([np.nan, np.inf]), {}, "No element is finite"),
            (np.ones(2), {"low": 5.0}, "above the last one"),
            (np.array([0.0, 5e-324]), {"bins": 100}, "no room for 100 bins"),
            (np.array([-1.7e308, 1.7e308]), {"bins": 3}, "float64 reaches"),
        ],
    )
    def test_refused(
        self, array: Array, options: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(ProcessInputError, match=said):
            histogram(array, **options)
