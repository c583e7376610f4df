"""Cluster: samples that are alike, put together.

Owns no collection. May call: plots.
"""

import warnings
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from pydantic import BaseModel, Field

from models.arrays import NDArray
from models.process_errors import ProcessInputError
from utils import plots
from utils.array_checks import Array, samples_of
from utils.processes.pca import pca
from utils.process_options import process
from utils.progress import progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_TRIED: Final = 10
# A silhouette compares each sample with each other one.
_COMPARED: Final = 2000
_STARTS: Final = 10


class Clusters(BaseModel):
    """Which sample is in which cluster."""

    labels: NDArray = Field(description="The cluster of each sample, from 0.")
    centers: NDArray = Field(description="Clusters × features: their means.")
    sizes: list[int] = Field(description="Samples in each cluster.")
    inertia: float = Field(
        description="The sum of the squared distances to the own centre."
    )
    silhouette: float | None = Field(
        description="From -1 to 1: how much nearer samples are to their own "
        "cluster than to the next one; null where each sample is its own, or "
        "all are in one. Of 2 000 samples at most."
    )
    map: NDArray = Field(
        description="Samples × 2: where each lies on the plane in which they "
        "differ most, to be drawn."
    )

    def plot(self, figure: "Figure") -> None:
        """The samples on a plane, each in its cluster's colour."""
        axes = figure.add_subplot()
        for number, size in enumerate(self.sizes):
            inside = self.map[self.labels == number]
            axes.scatter(
                inside[:, 0],
                inside[:, 1],
                s=14,
                alpha=0.6,
                linewidths=0,
                color=plots.COLOURS[number % len(plots.COLOURS)],
                marker="os^Dv"[number // len(plots.COLOURS) % 5],
                label=f"cluster {number}: {size}",
            )
        fit = "" if self.silhouette is None else (
            f", silhouette {self.silhouette:.2f}"
        )  # fmt: skip
        axes.set(
            title=f"{len(self.labels)} samples in {len(self.sizes)} "
            f"clusters{fit}",
            xlabel="principal component 1 / unit of the features",
            ylabel="principal component 2",
        )
        if len(self.sizes) <= 2 * len(plots.COLOURS):
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


@process(
    example={"array": [[0, 0], [0, 1], [1, 0], [9, 9], [9, 8]], "clusters": 2}
)
def cluster(
    array: NDArray,
    *,
    clusters: Annotated[int, Field(ge=1, le=1000)] | None = None,
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0,
) -> Clusters:
    """Puts samples that are alike together, by k-means.

    scikit-learn's KMeans with k-means++ and ten starts. Distances are
    Euclidean: bring features of different units to one scale first.

    Args:
        array: samples × features; each sample may have a shape of its own, as
            pictures have, and is then read as one row.
        clusters: how many; without it 2 to 10 are tried, and the number whose
            silhouette is best is taken.
        seed: the same one makes the same clusters.

    Raises:
        ProcessInputError: there are fewer different samples than clusters, or
            complex, NaN or infinite elements; or the samples differ less than
            float64 can tell.
    """
    samples = samples_of(array, at_least=1)
    different = len(np.unique(samples, axis=0))
    if different < (clusters or 1):
        raise ProcessInputError(
            f"There are {different} different samples, and {clusters} "
            "clusters are asked for; send more samples, or ask for fewer."
        )
    if clusters is not None:
        return _clustered(samples, clusters, seed)
    tried = range(2, min(_MOST_TRIED, different) + 1)
    if not tried:
        return _clustered(samples, 1, seed)
    found = []
    for number in tried:
        progress((number - 2) / len(tried), f"trying {number} clusters")
        try:
            found.append(_clustered(samples, number, seed))
        except ProcessInputError:
            break
    if not found:
        return _clustered(samples, 1, seed)
    return max(found, key=lambda each: each.silhouette or -1)


def _clustered(samples: Array, clusters: int, seed: int) -> Clusters:
    # pylint: disable=import-outside-toplevel  # see utils.processes
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    means = KMeans(clusters, n_init=_STARTS, random_state=seed)
    with warnings.catch_warnings():
        # It warns of what is said below, in a sentence.
        warnings.simplefilter("ignore", ConvergenceWarning)
        means.fit(samples)
    labels: Array = means.labels_
    count = len(np.unique(labels))
    if count < clusters:
        raise ProcessInputError(
            f"The samples are too alike for {clusters} clusters: beside the "
            f"largest of their distances only {count} can be told apart. Ask "
            "for fewer, or bring the features to one scale."
        )
    return Clusters(
        labels=labels,
        centers=means.cluster_centers_,
        sizes=np.bincount(labels, minlength=clusters).tolist(),
        inertia=float(means.inertia_),
        silhouette=_silhouette(samples, labels, seed),
        map=_map(samples),
    )


def _silhouette(samples: Array, labels: Array, seed: int) -> float | None:
    # pylint: disable-next=import-outside-toplevel  # see utils.processes
    from sklearn.metrics import silhouette_score

    if len(samples) > _COMPARED:
        chosen = np.random.default_rng(seed).choice(
            len(samples), _COMPARED, replace=False
        )
        samples, labels = samples[chosen], labels[chosen]
    if not 2 <= len(np.unique(labels)) < len(samples):
        return None
    return float(silhouette_score(samples, labels))


def _map(samples: Array) -> Array:
    flat = np.zeros((len(samples), 2))
    axes = min(2, *samples.shape)
    if len(samples) > 1:
        flat[:, :axes] = pca(samples, components=axes).scores
    return flat
