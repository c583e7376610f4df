"""PCA: the few directions in which samples differ most."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, Field

from models.arrays import NDArray
from models.process_errors import ProcessInputError
from utils.array_checks import Array, samples_of
from utils.process_options import process

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PrincipalComponents(BaseModel):
    """Samples in their own coordinates, and what those are."""

    scores: NDArray = Field(
        description="Samples × components: where each sample lies."
    )
    components: NDArray = Field(
        description="Components × features: the directions, of length 1."
    )
    explained_variance: NDArray = Field(
        description="Of each component, in the squared unit of the features."
    )
    explained_variance_ratio: NDArray = Field(
        description="The share of each component in the whole variance."
    )
    mean: NDArray = Field(description="Of each feature; taken off first.")
    scale: NDArray = Field(
        description="Of each feature; what it was divided by."
    )

    def plot(self, figure: "Figure") -> None:
        """The samples on the first two components, and each one's share."""
        cloud, shares = figure.subplots(1, 2, width_ratios=(3, 1))
        percent = 100 * self.explained_variance_ratio
        across = self.scores[:, 0]
        flat = self.scores.shape[1] == 1
        up = np.zeros_like(across) if flat else self.scores[:, 1]
        cloud.scatter(across, up, s=12, alpha=0.5, linewidths=0)
        cloud.set(
            title=f"{len(across)} samples",
            xlabel=f"component 1 ({percent[0]:.1f} % of the variance)",
            ylabel="" if flat else f"component 2 ({percent[1]:.1f} %)",
        )
        numbers = np.arange(1, percent.size + 1)
        shares.bar(numbers, percent)
        shares.xaxis.get_major_locator().set_params(integer=True)
        shares.set(
            title=f"{percent.sum():.1f} % in all",
            xlabel="component",
            ylabel="share of the variance / %",
        )


@process(
    example={"array": [[1, 2], [2, 4.1], [3, 5.9], [4, 8]], "components": 1}
)
def pca(
    array: NDArray,
    *,
    components: Annotated[int, Field(ge=1, le=1000)] = 2,
    scale: bool = False,
) -> PrincipalComponents:
    """Finds the directions in which samples differ most.

    By a singular value decomposition in float64, as scikit-learn's PCA with
    its full solver: `scores = (array - mean) / scale @ components.T`. The
    largest entry of each direction is positive.

    Args:
        array: samples × features; each sample may have a shape of its own, as
            pictures have, and is then read as one row.
        components: how many directions are kept.
        scale: whether each feature is divided by its standard deviation (ddof
            0), for features of different units; constant ones are not.

    Raises:
        ProcessInputError: there are fewer than two samples, fewer samples or
            features than components, or complex, NaN or infinite elements.
    """
    samples = samples_of(array, at_least=2)
    most = min(samples.shape)
    if components > most:
        raise ProcessInputError(
            f"{samples.shape[0]} samples of {samples.shape[1]} features have "
            f"{most} components at most, and {components} are asked for."
        )
    constant = np.ptp(samples, axis=0) == 0
    # The mean of equal numbers may differ from them in the last digit.
    mean = np.where(constant, samples[0], samples.mean(axis=0))
    centred = samples - mean
    divisor = _divisors(centred) if scale else np.ones_like(mean)
    centred /= divisor
    left, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    signs = _signs(directions)
    variances = lengths**2 / (len(samples) - 1)
    kept = slice(components)
    return PrincipalComponents(
        scores=(left * lengths * signs)[:, kept],
        components=(directions * signs[:, None])[kept],
        explained_variance=variances[kept],
        explained_variance_ratio=variances[kept] / (variances.sum() or 1),
        mean=mean,
        scale=divisor,
    )


def _signs(directions: Array) -> Array:
    """What makes the largest entry of each direction positive."""
    largest = np.abs(directions).argmax(axis=1)
    signs: Array = np.sign(directions[np.arange(len(directions)), largest])
    return signs


def _divisors(centred: Array) -> Array:
    """Each feature's standard deviation; 1 where it is constant."""
    deviations: Array = np.sqrt(np.mean(centred**2, axis=0))
    return np.where(deviations == 0, 1, deviations)
