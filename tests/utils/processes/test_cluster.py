"""Clusters, against scikit-learn and against what is known of the samples."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris, make_blobs
from sklearn.metrics import adjusted_rand_score, silhouette_score

from models.process_errors import ProcessInputError
from tests.utils.processes.arrays import Array, arrays
from utils.processes.cluster import cluster

_TABLES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)


class TestCluster:
    def test_as_scikit_learn(self) -> None:
        flowers = load_iris().data
        found = cluster(flowers, clusters=3, seed=5)
        reference = KMeans(3, n_init=10, random_state=5).fit(flowers)
        np.testing.assert_array_equal(found.labels, reference.labels_)
        np.testing.assert_array_equal(found.centers, reference.cluster_centers_)
        assert found.silhouette == pytest.approx(
            silhouette_score(flowers, reference.labels_)
        )

    @settings(max_examples=20)
    @given(
        arrays("int16", "float64", shape=_TABLES, magnitude=1e3),
        st.integers(1, 5),
    )
    def test_each_sample_is_with_its_nearest_centre(
        self, array: Array, clusters: int
    ) -> None:
        # What is closer can't always be told apart.
        array = np.round(array, 3)
        different = len(np.unique(array.astype(np.float64), axis=0))
        if different < clusters:
            with pytest.raises(ProcessInputError, match="different samples"):
                cluster(array, clusters=clusters)
            return
        found = cluster(array, clusters=clusters)
        gaps = array[:, None].astype(np.float64) - found.centers
        distances = np.linalg.norm(gaps, axis=2)
        own = distances[np.arange(len(array)), found.labels]
        np.testing.assert_allclose(own, distances.min(axis=1), atol=1e-6)
        assert found.inertia == pytest.approx(np.sum(own**2), abs=1e-6)
        assert found.sizes == np.bincount(found.labels).tolist()
        assert found.map.shape == (len(array), 2)

    @pytest.mark.parametrize("groups", [2, 3, 5])
    def test_it_finds_how_many_there_are(self, groups: int) -> None:
        samples, meant = make_blobs(
            200, centers=groups, cluster_std=0.5, random_state=3
        )
        found = cluster(samples)
        assert len(found.sizes) == groups
        assert adjusted_rand_score(meant, found.labels) == 1

    def test_real_digits(self) -> None:
        digits = load_digits()
        found = cluster(digits.images, clusters=10)
        assert adjusted_rand_score(digits.target, found.labels) > 0.6

    def test_one_sample(self) -> None:
        found = cluster(np.ones((1, 3)))
        assert found.labels.tolist() == [0]
        assert found.silhouette is None

    def test_samples_that_differ_by_less_than_can_be_told(self) -> None:
        tiny = np.array([[0], [1e-300], [0]])
        assert len(cluster(tiny).sizes) == 1

    @pytest.mark.parametrize(
        "array, options, said",
        [
            (np.array([[0], [1e-300]]), {"clusters": 2}, "too alike for 2"),
            (np.ones(3), {}, "samples × features"),
            (np.ones((4, 2)), {"clusters": 2}, "1 different samples"),
            (np.array([[np.nan]]), {}, "NaN or infinite"),
        ],
    )
    def test_refused(
        self, array: Array, options: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(ProcessInputError, match=said):
            cluster(array, **options)
