"""Geo: cells that cover a circle on the globe, and distances.

Owns no collection. May call: nobody. A document keeps two fields under
`lookup`: `cells`, the squares of several sizes that its point lies in, and
`position`, the point on the unit sphere. Cells find candidates by equality on
an index; the chord between two positions decides and sorts. No seam of the map
is special on a sphere: only `_bounding_box` and `_columns` know of the poles
and the antimeridian.
"""

import math
from typing import Any, Final

from models.events import EARTH_RADIUS_KM, NearPoint

# Sizes of the squares, degrees; each divides 180.
_SIZES: Final = (0.1, 0.5, 2.5, 10.0, 60.0)

# A covering with more cells than this is taken from the next larger size.
_MAX_CELLS: Final = 64

# Widens a bounding box by a millimetre, more than rounding can take from it.
_EPSILON_DEGREES: Final = 1e-8


def geo_fields(latitude: float, longitude: float) -> dict[str, Any]:
    """What a document at this point keeps, so that it can be found."""
    return {
        "cells": [
            f"{size}:{_row(latitude, size)}:{_column(longitude, size)}"
            for size in _SIZES
        ],
        "position": position(latitude, longitude),
    }


def position(latitude: float, longitude: float) -> list[float]:
    """The point on the unit sphere, as x, y, z."""
    phi, lam = math.radians(latitude), math.radians(longitude)
    return [
        math.cos(phi) * math.cos(lam),
        math.cos(phi) * math.sin(lam),
        math.sin(phi),
    ]


def covering_cells(center: NearPoint, radius_km: float) -> list[str]:
    """Cells of one size that together hold every point of the circle."""
    south, north, half_width = _bounding_box(center, radius_km)
    cells: list[str] = []
    for size in _SIZES:
        rows = range(_row(south, size), _row(north, size) + 1)
        columns = _columns(center.longitude, half_width, size)
        if len(rows) * len(columns) <= _MAX_CELLS or size == _SIZES[-1]:
            cells = [f"{size}:{row}:{col}" for row in rows for col in columns]
            break
    return cells


def chord_squared(center: NearPoint) -> dict[str, Any]:
    """The aggregation expression of the squared chord from `center`.

    It grows with the distance, needs no trigonometry in the database, and is
    exact for small distances, where the cosine of the angle is not.
    """
    x_y_z = position(center.latitude, center.longitude)
    differences = [
        {"$subtract": [{"$arrayElemAt": ["$lookup.position", axis]}, value]}
        for axis, value in enumerate(x_y_z)
    ]
    return {"$add": [{"$multiply": [diff, diff]} for diff in differences]}


def chord_squared_of_km(distance_km: float) -> float:
    """The squared chord of two points this far apart along the globe."""
    return (2 * math.sin(distance_km / EARTH_RADIUS_KM / 2)) ** 2


def km_of_chord_squared(squared: float) -> float:
    """The distance along the globe, km, of two points with this chord."""
    half = min(1.0, math.sqrt(squared) / 2)
    return 2 * EARTH_RADIUS_KM * math.asin(half)


def _bounding_box(
    center: NearPoint, radius_km: float
) -> tuple[float, float, float]:
    """South, north and half the width in degrees of a box around a circle.

    Source: Jan Matuschek, "Finding Points Within a Distance of a
    Latitude/Longitude Using Bounding Coordinates", 2010.
    """
    angle = radius_km / EARTH_RADIUS_KM
    spread = math.degrees(angle) + _EPSILON_DEGREES
    south, north = center.latitude - spread, center.latitude + spread
    if south <= -90 or north >= 90:
        # A pole lies in the circle: every longitude does.
        return max(south, -90.0), min(north, 90.0), 180.0
    sine = math.sin(angle) / math.cos(math.radians(center.latitude))
    half_width = math.degrees(math.asin(min(1.0, sine))) + _EPSILON_DEGREES
    return south, north, half_width


def _row(latitude: float, size: float) -> int:
    return math.floor((latitude + 90) / size)


def _column(longitude: float, size: float) -> int:
    # 180° east and west are one meridian.
    return math.floor((longitude + 180) / size) % round(360 / size)


def _columns(longitude: float, half_width: float, size: float) -> list[int]:
    count = round(360 / size)
    first = math.floor((longitude - half_width + 180) / size)
    last = math.floor((longitude + half_width + 180) / size)
    if last - first + 1 >= count:
        return list(range(count))
    return [column % count for column in range(first, last + 1)]
