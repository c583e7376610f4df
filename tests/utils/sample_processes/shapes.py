"""Processes with arguments and results of all kinds."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Optional

import numpy as np
from osbot_utils.type_safe.Type_Safe import Type_Safe
from pydantic import BaseModel, Field

from models.arrays import NDArray
from utils.process_options import process


class Mode(StrEnum):
    """How it is done."""

    FAST = "fast"
    EXACT = "exact"


@dataclass
class Point:
    """A place."""

    x: float
    y: float = 0.0


class Box(BaseModel):
    """What is around points."""

    corners: list[Point]
    mode: Mode = Mode.FAST


class Crate(Type_Safe):  # type: ignore[misc]  # it has no types
    """What boxes are put into."""

    label: str
    points: list[Point]
    best: Optional[Point]


@dataclass
class Report:
    """What was found."""

    crate: Crate
    boxes: dict[str, Box]
    values: NDArray
    mean: float
    kinds: list[str] = field(default_factory=list)


def pack(
    crate: Crate,
    box: Box,
    points: list[Point],
    values: NDArray,
    *,
    mode: Mode = Mode.EXACT,
    origin: Point = Point(1.0, 2.0),
    limit: Annotated[int, Field(ge=1, le=9)] = 3,
) -> Report:
    """Packs points.

    All that it gets is of the types that it declares.

    Args:
        crate: what they are put into,
            with a label.
        box: another one.
        points: what is packed.
        values: numbers.
        mode: how.
        origin: where they begin.
        limit: how often.

    Returns:
        What was given.

    Raises:
        ValueError: there are no points.
    """
    given = (crate, box, points[0], values, mode, origin, limit)
    crate.best = box.corners[0]
    return Report(
        crate=crate,
        boxes={"first": box},
        values=values * limit,
        mean=float(np.mean(values)) if values.size else float("nan"),
        kinds=[type(each).__name__ for each in given],
    )


def images__id_blur(id: int, strength: float = 1.0) -> dict[str, float]:  # pylint: disable=redefined-builtin
    """Blurs an image."""
    return {"id": id, "strength": strength}


@process(
    path="settings/now",
    time_limit_seconds=5,
    memory_mb=64,
    retries=2,
    schedule="0 3 * * *",
)
def decorated() -> None:
    """Has options."""


def lies(value: int) -> str:
    """Returns another type than it says."""
    return value  # type: ignore[return-value]  # that is the point


def _private() -> None:
    raise AssertionError
