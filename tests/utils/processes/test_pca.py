"""Principal components, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from models.process_errors import ProcessInputError
from tests.utils.processes.arrays import REAL_DTYPES, Array, arrays
from utils.processes.pca import pca

_TABLES = hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=8)


class TestPca:
    @given(
        arrays("int8", "float32", "float64", shape=_TABLES, magnitude=1e3),
        st.booleans(),
        st.data(),
    )
    def test_as_scikit_learn(
        self, array: Array, scale: bool, data: st.DataObject
    ) -> None:
        rows = array.reshape(len(array), -1).astype(np.float64)
        # Deviations of numbers that differ in their last digits are chance.
        spans = np.ptp(rows, axis=0)
        assume(np.all((spans == 0) | (spans > 1e-6 * np.abs(rows).max(axis=0))))
        components = data.draw(st.integers(1, min(rows.shape)))
        found = pca(array, components=components, scale=scale)
        if scale:
            rows = StandardScaler().fit_transform(rows)
        with np.errstate(invalid="ignore"):
            reference = PCA(components, svd_solver="full").fit(rows)
        top = max(np.abs(rows).max(), 1e-30)
        np.testing.assert_allclose(
            found.explained_variance,
            reference.explained_variance_,
            rtol=1e-6,
            atol=1e-9 * top**2,
        )
        made = found.scores @ found.components
        expected = reference.inverse_transform(reference.transform(rows))
        if components == min(rows.shape):
            np.testing.assert_allclose(
                made, expected - rows.mean(axis=0), atol=1e-9 * top
            )

    @pytest.mark.parametrize("scale", [False, True])
    def test_real_digits_as_scikit_learn(self, scale: bool) -> None:
        digits = load_digits()
        found = pca(digits.images, components=10, scale=scale)
        rows = digits.data
        if scale:
            rows = StandardScaler().fit_transform(rows)
        reference = PCA(10, svd_solver="full").fit(rows)
        signs = np.sign(
            np.sum(found.components * reference.components_, axis=1)
        )
        np.testing.assert_allclose(
            found.components, reference.components_ * signs[:, None], atol=1e-9
        )
        np.testing.assert_allclose(
            found.scores, reference.transform(rows) * signs, atol=1e-9
        )
        np.testing.assert_allclose(
            found.explained_variance_ratio, reference.explained_variance_ratio_
        )
        largest = np.abs(found.components).argmax(axis=1)
        assert np.all(found.components[np.arange(10), largest] > 0)

    def test_it_can_be_undone(self) -> None:
        flowers = load_iris().data
        found = pca(flowers, components=4, scale=True)
        np.testing.assert_allclose(
            found.scores @ found.components * found.scale + found.mean, flowers
        )

    def test_samples_that_are_all_the_same(self) -> None:
        """The mean of three times 0.1 is not 0.1."""
        found = pca(np.full((3, 2), 0.1), components=2, scale=True)
        assert not found.scores.any()
        assert not found.explained_variance_ratio.any()
        assert found.scale.tolist() == [1, 1]

    @given(arrays(*REAL_DTYPES, shape=_TABLES))
    def test_what_is_sent_stays_as_it_is(self, array: Array) -> None:
        array.flags.writeable = False
        assert pca(array, components=1).scores.shape == (len(array), 1)

    @pytest.mark.parametrize(
        "array, components, said",
        [
            (np.ones(3), 1, "1 dimensions"),
            (np.ones((1, 3)), 1, "at least 2 are"),
            (np.ones((3, 0)), 1, "is empty"),
            (np.ones((3, 2)), 3, "have 2 components at most"),
            (np.ones((2, 2)) * 1j, 1, "is complex"),
            (np.array([[1, np.nan], [1, 2]]), 1, r"at \[0, 1\]"),
        ],
    )
    def test_refused(self, array: Array, components: int, said: str) -> None:
        with pytest.raises(ProcessInputError, match=said):
            pca(array, components=components)
