"""Plots: pictures that show something, of any result."""

import io
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.payloads import Payload
from utils import plots, process_registry

_ROOT = Path(__file__).parents[2]
_NUMBERS = np.random.default_rng(1)


@dataclass
class _Pair:
    name: str
    values: NDArray[Any]


def _seen(png: bytes) -> NDArray[Any]:
    """The picture's pixels, height × width × colours."""
    image = Image.open(io.BytesIO(png))
    assert (image.format, image.size) == ("PNG", (plots.WIDTH, plots.HEIGHT))
    return np.asarray(image.convert("RGB"))


def _ink(png: bytes) -> float:
    """The share of pixels that are not white."""
    return float(np.mean(np.any(_seen(png) != 255, axis=2)))


def _result_of(name: str) -> object:
    """What the process' example comes to, as it is read when it was kept."""
    process = process_registry.get_process(name)
    assert process is not None
    body = Payload(json.dumps(process.example()).encode())
    kept = process.dump_arguments(process.validate(body))
    return process.load_result(process.run(kept))


class TestDraw:
    @pytest.mark.parametrize(
        "result",
        [
            np.float64(3),
            np.arange(5),
            [1, 2, 3, 5, 8],
            _NUMBERS.normal(size=100_000),
            _NUMBERS.normal(size=(3, 500)) * 1j,
            _NUMBERS.normal(size=(40, 40)),
            _NUMBERS.integers(0, 255, (60, 90, 3), np.uint8),
            _NUMBERS.normal(size=(60, 90, 4)),
            _NUMBERS.normal(size=(4, 5, 6, 7)) > 0,
            np.array([1, np.nan, np.inf, 2]),
            np.full((20, 20), np.nan),
            {"a": [1.5, 2], "b": {"c": np.arange(9.0), "text": "no"}},
            _Pair("pair", np.arange(3)),
        ],
        ids=lambda each: type(each).__name__ + str(getattr(each, "shape", "")),
    )
    def test_any_result(self, result: object) -> None:
        assert _ink(plots.draw(result, title="A result")) > 0.02

    @pytest.mark.parametrize(
        "result", [None, "text", {}, [], ["a"], [[1], [1, 2]], np.empty(0)]
    )
    def test_nothing_to_draw(self, result: object) -> None:
        with pytest.raises(plots.NoPlotError, match="no numbers"):
            plots.draw(result, title="A result")

    def test_a_long_line_shows_its_outlier(self) -> None:
        """Drawn point by point it takes half a minute, or loses the one."""
        flat = np.zeros(5_000_000)
        empty = _seen(plots.draw(flat, title=""))
        flat[2_345_678] = 1
        begun = time.process_time()
        found = _seen(plots.draw(flat, title=""))
        assert time.process_time() - begun < 10
        assert np.any(found[100:300, 350:420] != empty[100:300, 350:420])

    def test_a_large_picture(self) -> None:
        assert _ink(plots.draw(np.eye(6000, dtype=bool), title="")) > 0.1


class TestProcesses:
    @pytest.mark.parametrize(
        "name", [each.name for each in process_registry.list_processes()]
    )
    def test_each_draws_its_example(self, name: str) -> None:
        result = _result_of(name)
        assert isinstance(result, plots.Drawn)
        assert _ink(plots.draw(result, title=name)) > 0.02


class TestWebWorkers:
    def test_they_stay_small(self) -> None:
        """They know each process, and load none of what it computes with."""
        program = (
            "import sys; import app; from utils import process_registry;"
            "assert len(process_registry.list_processes()) >= 8;"
            "print([m for m in ('scipy', 'sklearn', 'matplotlib', 'magika',"
            " 'onnxruntime') if m in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "[]"
