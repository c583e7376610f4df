"""Classifiers: trained models, loaded through the model cache.

Owns no collection. May call: nobody. `digits` learns when it is loaded, in a
second, from the 1 797 handwritten digits that scikit-learn ships, and measures
itself on those that it did not see: nothing is unpickled. `file_types` is
Magika's model, which its package ships.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from utils.model_cache import MEGABYTE, model

if TYPE_CHECKING:
    from magika import Magika

# What the process grows by while scikit-learn is imported is not the model's:
# these were measured with the libraries there.
_DIGITS_BYTES: Final = 6 * MEGABYTE
_FILE_TYPES_BYTES: Final = 25 * MEGABYTE

_HELD_OUT: Final = 0.25


@dataclass(frozen=True)
class DigitReader:
    """Reads handwritten digits, pictures of 8 × 8 from 0 to 16.

    Attributes:
        accuracy: the share that it read right of those it did not learn from.
        held_out: how many those were.
    """

    accuracy: float
    held_out: int
    _model: Any

    def probabilities(self, pictures: NDArray[Any]) -> NDArray[Any]:
        """How likely each picture is each digit: pictures × 10.

        Args:
            pictures: pictures × 64.
        """
        found: NDArray[Any] = self._model.predict_proba(pictures)
        return found


@model("digits", size=lambda _: _DIGITS_BYTES)
def digits() -> DigitReader:
    """Reads handwritten digits; 99 of 100 are right."""
    # pylint: disable=import-outside-toplevel  # see utils.processes
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import SVC

    pictures, meant = load_digits(return_X_y=True)
    seen, unseen, seen_digits, unseen_digits = train_test_split(
        pictures, meant, test_size=_HELD_OUT, random_state=0, stratify=meant
    )
    # One machine a digit: their margins say how sure they are, where the votes
    # of one for all digits are 98 % sure of right and wrong ones alike.
    machines = OneVsRestClassifier(SVC(gamma=0.001, C=10))
    reader = CalibratedClassifierCV(
        machines, ensemble=False, method="temperature", cv=3
    ).fit(seen, seen_digits)
    return DigitReader(
        accuracy=float(reader.score(unseen, unseen_digits)),
        held_out=len(unseen),
        _model=reader,
    )


@model("file_type", size=lambda _: _FILE_TYPES_BYTES)
def file_types() -> "Magika":
    """Tells by the bytes of a file what it is, among 200 types."""
    # pylint: disable-next=import-outside-toplevel  # see utils.processes
    from magika import Magika

    return Magika()


def as_bytes(array: NDArray[Any]) -> bytes:
    """The bytes that an array of 0 to 255 stands for."""
    return array.astype(np.uint8).tobytes()
