"""The picture of a run: CPU of a request, by who uses it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Milliseconds of the worker and of its databases, by app.
Costs = Mapping[str, tuple[float, float]]

_TITLES: Final = {
    "muster": "Muster",
    "bare": "bare FastAPI,\nasync PyMongo",
    "sync": "sync PyMongo\nin threads",
    "template": "full-stack template:\nPostgreSQL, Redis",
}
_OURS: Final = ("#0b6e4f", "#8cc9ad")
_THEIRS: Final = ("#5a6472", "#c3c9d1")


def draw(measured: Mapping[str, Costs], path: Path) -> None:
    """Draws a panel for each operation; shorter bars are better."""
    figure = Figure(figsize=(9, 2.9), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(measured), sharey=True)
    for panel, (operation, costs) in zip(panels, measured.items(), strict=True):
        _draw_panel(panel, operation, costs)
    figure.supxlabel(
        "CPU ms of a request: the web worker's (dark) and its databases' "
        "(light); less is better",
        fontsize=9,
    )
    # Without the time, so that the same figures make the same file.
    figure.savefig(path, metadata={"Software": None})


def _draw_panel(panel: Axes, operation: str, costs: Costs) -> None:
    for row, (app, (worker, stores)) in enumerate(costs.items()):
        dark, light = _OURS if app == "muster" else _THEIRS
        panel.barh(row, worker, color=dark)
        panel.barh(row, stores, left=worker, color=light)
        panel.text(worker + stores, row, f" {worker + stores:.2f}", va="center")
    panel.set_title(operation, fontsize=10)
    panel.set_yticks(range(len(costs)), [_TITLES[app] for app in costs])
    panel.tick_params(labelsize=8, length=0)
    panel.spines[["top", "right"]].set_visible(False)
    panel.margins(x=0.2)
    if not panel.yaxis_inverted():
        panel.invert_yaxis()
