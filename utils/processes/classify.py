"""Classify: what a trained model takes an array for.

Owns no collection. May call: classifiers.
"""

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import BaseModel, Field

from models.arrays import NDArray
from models.process_errors import ProcessInputError
from utils import classifiers
from utils.array_checks import (
    Array,
    in_double,
    require_dimensions,
    require_elements,
    require_finite,
    require_real,
)
from utils.process_options import process

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE: Final = 8
_INK: Final = 16

# A nought that somebody wrote.
_EXAMPLE: Final = {
    "array": [
        [0, 0, 5, 13, 9, 1, 0, 0],
        [0, 0, 13, 15, 10, 15, 5, 0],
        [0, 3, 15, 2, 0, 11, 8, 0],
        [0, 4, 12, 0, 0, 8, 8, 0],
        [0, 5, 8, 0, 0, 9, 8, 0],
        [0, 4, 11, 0, 1, 12, 7, 0],
        [0, 2, 14, 5, 10, 12, 0, 0],
        [0, 0, 6, 13, 10, 0, 0, 0],
    ]
}


class Classifier(StrEnum):
    """The models that there are."""

    DIGITS = "digits"
    FILE_TYPE = "file_type"


class Classes(BaseModel):
    """What the model takes each sample for."""

    model: Classifier
    labels: list[str] = Field(description="The class of each sample.")
    scores: NDArray = Field(
        description="How sure the model is of each label, 0 to 1."
    )
    classes: list[str] = Field(
        description="What the columns of `probabilities` stand for."
    )
    probabilities: NDArray | None = Field(
        description="Samples × classes; null where the model tells only its "
        "best guess."
    )
    about: str = Field(description="What the label means, or how good it is.")

    def plot(self, figure: "Figure") -> None:
        """How likely the classes of one sample are; of many, how frequent."""
        axes = figure.add_subplot()
        names = self.classes or sorted(set(self.labels))
        if len(self.labels) == 1:
            likely = self.scores
            if self.probabilities is not None:
                likely = self.probabilities[0]
            bars = axes.bar(names, likely)
            axes.bar_label(bars, fmt="{:.1%}", padding=2)
            axes.set(
                title=f"Taken for {self.labels[0]}: {self.about}",
                ylabel="probability",
                ylim=(0, 1.1),
            )
        else:
            counted = Counter(self.labels)
            bars = axes.bar(names, [counted[name] for name in names])
            axes.bar_label(bars, padding=2)
            axes.locator_params("y", integer=True)
            axes.set(
                title=f"{len(self.labels)} samples: {self.about}",
                ylabel="samples",
            )
        axes.set(xlabel="class", xlim=(-1, len(names)))


@process(example=_EXAMPLE)
def classify(
    array: NDArray, *, model: Classifier = Classifier.DIGITS
) -> Classes:
    """Tells what a trained model takes an array for.

    `digits` reads handwritten digits: one picture of 8 × 8, or many (n × 8 × 8,
    or n × 64), 0 for paper to 16 for ink. It is a support vector machine that
    learnt from three quarters of the digits of scikit-learn (UCI ML, Alpaydin
    and Kaynak, 1998); `about` says how many of the others it reads right.
    `file_type` is Magika (Google), which tells 200 types of files from their
    bytes: send the file's bytes as whole numbers from 0 to 255.

    Args:
        array: what the model reads.
        model: which one.

    Raises:
        ProcessInputError: the array is not of the kind that the model reads.
    """
    require_elements(array)
    require_real(array)
    require_finite(array)
    if model is Classifier.DIGITS:
        return _digits(array)
    return _file_type(array)


def _digits(array: Array) -> Classes:
    one = array.shape == (_SIDE, _SIDE)
    many = array.shape[1:] in ((_SIDE, _SIDE), (_SIDE * _SIDE,))
    if not one and not many:
        raise ProcessInputError(
            f"The shape is {array.shape}; digits are pictures of 8 × 8: send "
            "8 × 8 for one, n × 8 × 8 or n × 64 for many."
        )
    if array.min() < 0 or array.max() > _INK:
        raise ProcessInputError(
            f"The elements go from {array.min():g} to {array.max():g}; in a "
            "picture of a digit they go from 0, paper, to 16, ink."
        )
    reader = classifiers.digits()
    likely = reader.probabilities(in_double(array).reshape(-1, _SIDE * _SIDE))
    best = likely.argmax(axis=1)
    return Classes(
        model=Classifier.DIGITS,
        labels=[str(digit) for digit in best.tolist()],
        scores=likely[np.arange(len(best)), best],
        classes=[str(digit) for digit in range(10)],
        probabilities=likely,
        about=f"{reader.accuracy:.1%} of {reader.held_out} digits that it did "
        "not learn from are read right",
    )


def _file_type(array: Array) -> Classes:
    require_dimensions(array, 1, meaning="the bytes of one file, one after one")
    if array.min() < 0 or array.max() > 255 or np.any(array % 1):
        raise ProcessInputError(
            "Some elements are no bytes; send the file's bytes as whole "
            "numbers from 0 to 255, best as uint8."
        )
    found = classifiers.file_types().identify_bytes(classifiers.as_bytes(array))
    kind = found.output
    return Classes(
        model=Classifier.FILE_TYPE,
        labels=[str(kind.label)],
        scores=np.array([found.score]),
        classes=[],
        probabilities=None,
        about=f"{kind.description}, {kind.mime_type}",
    )
