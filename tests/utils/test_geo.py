"""Cells and chords, against spherical trigonometry."""

import math

from hypothesis import assume, example, given
from hypothesis import strategies as st

from models.events import EARTH_RADIUS_KM, HALF_CIRCUMFERENCE_KM, NearPoint
from utils import geo

latitudes = st.floats(-90, 90) | st.sampled_from([-90.0, 90.0, 89.9999, 0.0])
longitudes = st.floats(-180, 180) | st.sampled_from([-180.0, 180.0, 179.9999])
points = st.builds(NearPoint, latitude=latitudes, longitude=longitudes)
radii = st.floats(0.001, HALF_CIRCUMFERENCE_KM) | st.floats(0.001, 50.0)


def _destination(start: NearPoint, bearing: float, km: float) -> NearPoint:
    """The point that lies `km` from `start` in the direction `bearing`."""
    angle = km / EARTH_RADIUS_KM
    phi, lam = math.radians(start.latitude), math.radians(start.longitude)
    sine = math.sin(phi) * math.cos(angle) + math.cos(phi) * math.sin(
        angle
    ) * math.cos(bearing)
    new_phi = math.asin(max(-1.0, min(1.0, sine)))
    new_lam = lam + math.atan2(
        math.sin(bearing) * math.sin(angle) * math.cos(phi),
        math.cos(angle) - math.sin(phi) * math.sin(new_phi),
    )
    longitude = (math.degrees(new_lam) + 540) % 360 - 180
    return NearPoint(latitude=math.degrees(new_phi), longitude=longitude)


@given(points, radii, st.floats(0, 2 * math.pi), st.floats(0, 1))
@example(NearPoint(latitude=0, longitude=180), 25.0, math.pi / 2, 0.9)
@example(NearPoint(latitude=0, longitude=-180), 25.0, -math.pi / 2, 0.9)
@example(NearPoint(latitude=89.99, longitude=0), 25.0, 0.0, 0.99)
@example(NearPoint(latitude=60, longitude=0), 3000.0, math.pi / 2, 0.999)
def test_a_covering_covers(
    center: NearPoint, radius: float, bearing: float, part: float
) -> None:
    """Every point of a circle lies in a cell of the circle's covering."""
    inside = _destination(center, bearing, radius * part * (1 - 1e-9))
    fields = geo.geo_fields(inside.latitude, inside.longitude)
    assert set(fields["cells"]) & set(geo.covering_cells(center, radius))


@given(points, radii)
def test_a_covering_is_small(center: NearPoint, radius: float) -> None:
    assert 1 <= len(geo.covering_cells(center, radius)) <= 64


@given(points, st.floats(0.001, 100.0))
def test_a_covering_leaves_most_of_the_globe_out(
    center: NearPoint, radius: float
) -> None:
    antipode = NearPoint(
        latitude=-center.latitude,
        longitude=(center.longitude + 360) % 360 - 180,
    )
    assume(abs(center.latitude) > 1 or abs(center.longitude) < 179)
    fields = geo.geo_fields(antipode.latitude, antipode.longitude)
    covering = geo.covering_cells(center, radius)
    assert not set(fields["cells"]) & set(covering)


@given(points, st.floats(0, 2 * math.pi), radii)
def test_chords_measure_distances(
    center: NearPoint, bearing: float, km: float
) -> None:
    # Near the antipode an arc second hardly changes the chord.
    assume(km < 0.999 * HALF_CIRCUMFERENCE_KM)
    other = _destination(center, bearing, km)
    one = geo.position(center.latitude, center.longitude)
    two = geo.position(other.latitude, other.longitude)
    squared = sum((a - b) ** 2 for a, b in zip(one, two, strict=True))
    measured = geo.km_of_chord_squared(squared)
    assert math.isclose(measured, km, rel_tol=1e-6, abs_tol=1e-4)
    assert math.isclose(
        geo.chord_squared_of_km(km), squared, rel_tol=1e-6, abs_tol=1e-12
    )
