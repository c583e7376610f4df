"""Plots: a result as a picture that a person can read.

Owns no collection. May call: nobody. A result draws itself by a method
`plot(figure)`, which a process' own file defines; one without it is drawn by
the arrays that it holds. Matplotlib takes 60 MB and most of a second: nothing
here imports it but `draw`, which runs in a child of the web process.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    Protocol,
    runtime_checkable,
)

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

Array = NDArray[Any]

WIDTH: Final = 800
HEIGHT: Final = 500
_DPI: Final = 100

# A line of more points is drawn as the band between its extremes: the picture
# looks the same, and takes milliseconds instead of seconds.
_LINE_POINTS: Final = 4 * WIDTH
_IMAGE_PIXELS: Final = 2 * WIDTH
_MAX_LINES: Final = 8
_MAX_SHOWN: Final = 4

# Black, then those of Okabe and Ito, which colour-blind people tell apart.
COLOURS: Final = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#8a8a00",
)


class NoPlotError(Exception):
    """A result has no picture; the message says why."""


@runtime_checkable
class Drawn(Protocol):
    """A result that knows how it is to be drawn."""

    def plot(self, figure: "Figure") -> None:
        """Draws the result on an empty figure."""


def draw(result: object, *, title: str) -> bytes:
    """A PNG of WIDTH × HEIGHT pixels; takes a second.

    Args:
        result: what a process returned.
        title: what stands above a result that does not draw itself.

    Raises:
        NoPlotError: there is nothing in it to be drawn.
    """
    # pylint: disable=import-outside-toplevel  # see the module's docstring
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_style()):
        figure = Figure(
            figsize=(WIDTH / _DPI, HEIGHT / _DPI),
            dpi=_DPI,
            layout="constrained",
        )
        if isinstance(result, Drawn):
            result.plot(figure)
        else:
            _plot_found(figure, result, title)
        file = io.BytesIO()
        figure.savefig(file, format="png")
    return file.getvalue()


def show_array(axes: "Axes", array: Array, *, name: str = "value") -> None:
    """Draws an array by its shape: bar, line, lines, or picture.

    Complex numbers are shown by their magnitude; of more than two dimensions
    the first of all others is shown, unless they are the colours of a picture.
    """
    if array.dtype.kind == "c":
        array, name = np.abs(array), f"|{name}|"
    if _is_colour_picture(array):
        show_picture(axes, array, name=name)
        return
    while array.ndim > 2:
        array = array[0]
    if array.ndim == 2 and not _is_few_lines(array):
        show_picture(axes, array, name=name)
        return
    rows = np.atleast_2d(array)
    for number, row in enumerate(rows):
        label = f"row {number}" if len(rows) > 1 else None
        show_line(axes, row, label=label)
    axes.set(xlabel="index", ylabel=name)
    if len(rows) > 1:
        axes.legend()


def show_line(
    axes: "Axes",
    y: Array,
    *,
    x: Array | None = None,
    label: str | None = None,
) -> None:
    """Draws a line; a long one as the band between its extremes."""
    x = np.arange(y.size) if x is None else x
    y = y.astype(np.float64)
    if y.size > _LINE_POINTS:
        x, y = _extremes(x, y)
    few = y.size <= 40
    axes.plot(x, y, label=label, marker="o" if few else None, markersize=4)
    axes.margins(x=0.02 if few else 0)


def show_picture(axes: "Axes", array: Array, *, name: str = "value") -> None:
    """Draws rows and columns as a picture, with a scale of what is what."""
    step = max(1, -(-max(array.shape[:2]) // _IMAGE_PIXELS))
    array = array[::step, ::step]
    rows, columns = array.shape[:2]
    # A long table fills the place that there is; a picture keeps its form.
    aspect: Literal["equal", "auto"] = (
        "equal" if 0.2 <= rows / columns <= 5 else "auto"
    )
    edges = (-0.5, columns * step - 0.5, rows * step - 0.5, -0.5)
    # Few elements are seen one by one; many are blended where they don't fit.
    blend = "nearest" if max(rows, columns) < HEIGHT else "auto"
    if array.ndim == 3:
        axes.imshow(
            _as_colours(array),
            extent=edges,
            aspect=aspect,
            interpolation=blend,
        )
    else:
        shown = axes.imshow(
            array.astype(np.float64),
            extent=edges,
            aspect=aspect,
            interpolation=blend,
        )
        axes.figure.colorbar(shown, ax=axes, label=name)
    axes.set(xlabel="column", ylabel="row")
    axes.grid(visible=False)


def _style() -> "dict[RcKeyType, Any]":
    return {
        "font.size": 11,
        "axes.titlesize": 12,
        "axes.titleweight": "bold",
        "axes.grid": True,
        "grid.color": "#dddddd",
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": _cycle(),
        "image.cmap": "viridis",
        "lines.linewidth": 1.5,
        "legend.frameon": False,
    }


def _cycle() -> Any:
    # pylint: disable-next=import-outside-toplevel  # see the docstring
    from cycler import cycler

    return cycler(color=COLOURS)


def _plot_found(figure: "Figure", result: object, title: str) -> None:
    found = list(_arrays_in(result, ""))[:_MAX_SHOWN]
    if not found:
        raise NoPlotError("it holds no numbers that could be drawn")
    columns = 1 if len(found) == 1 else 2
    rows = -(-len(found) // columns)
    for place, (name, array) in enumerate(found, 1):
        axes = figure.add_subplot(rows, columns, place)
        show_array(axes, array, name=name or "value")
        if name:
            axes.set_title(f"{name} {array.shape}")
    figure.suptitle(title, fontweight="bold")


def _arrays_in(value: object, name: str) -> Iterator[tuple[str, Array]]:
    """What can be drawn of a result, with where it stands in it."""
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.size and array.dtype.kind in "biufc":
            yield name, array
    elif isinstance(value, list | tuple):
        yield from _array_of(value, name)
    else:
        for inner, part in _parts_of(value).items():
            yield from _arrays_in(part, f"{name}.{inner}" if name else inner)


def _array_of(
    values: list[object] | tuple[object, ...], name: str
) -> Iterator[tuple[str, Array]]:
    # Lists of several lengths, or of something else than numbers, are skipped.
    with suppress(ValueError):
        yield from _arrays_in(np.array(values), name)


def _parts_of(value: object) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return {str(name): part for name, part in value.items()}
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    if is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if type(value).__module__ == "builtins":
        return {}
    return vars(value) if hasattr(value, "__dict__") else {}


def _extremes(x: Array, y: Array) -> tuple[Array, Array]:
    """Two points for each column of the picture: its lowest and highest."""
    width = -(-y.size // WIDTH)
    whole = y.size // width * width
    columns = y[:whole].reshape(-1, width)
    # A column of NaN alone stays empty.
    low = np.where(np.isnan(columns), np.inf, columns).min(axis=1)
    high = np.where(np.isnan(columns), -np.inf, columns).max(axis=1)
    pairs = np.stack([low, high], axis=1)
    pairs[low > high] = np.nan
    rest = y[whole:]
    return (
        np.concatenate([np.repeat(x[:whole:width], 2), x[whole:]]),
        np.concatenate([pairs.ravel(), rest]),
    )


def _is_few_lines(array: Array) -> bool:
    rows, columns = array.shape[0], array.shape[1]
    return bool(rows <= _MAX_LINES and columns >= 4 * rows)


def _is_colour_picture(array: Array) -> bool:
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        return False
    return bool(array.shape[0] > 4 and array.shape[1] > 4)


def _as_colours(array: Array) -> Array:
    """What Matplotlib takes for colours: bytes, or floats from 0 to 1."""
    if array.dtype == np.uint8:
        return array
    values: Array = np.nan_to_num(array.astype(np.float64), posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        return (values - low) / ((high - low) or 1)
    return values / 255 if high > 1 else values
