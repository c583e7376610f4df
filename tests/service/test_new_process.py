"""A new process: the README's ten lines, in a file of their own, and no more.

Also the typed client, which calls what is served by its function.
"""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from scripts.client import CallError, Muster
from tests.service import running, serving
from utils.processes.np_array import ArrayReport, Operation, np_array
from utils.processes.spectrum import Spectrum, spectrum

pytestmark = running.MARKS

_README = (running.REPOSITORY / "README.md").read_text("utf-8")
_SECTION = _README.partition("## A process in ten lines")[2]
_SHIFT = '''"""Shifts. Owns no collection. May call: nobody."""
from dataclasses import dataclass

from models.arrays import NDArray

@dataclass
class Part:
    values: NDArray
    by: float = 1.0

@dataclass
class Shifted:
    parts: dict[str, Part]
    mean: float

def parts__name_shift(name: str, part: Part, all: NDArray) -> Shifted:
    """Shifts a part."""
    kept = Part(part.values, part.by)
    return Shifted({name: kept, "all": Part(all)}, float("nan"))
'''


@pytest.fixture(name="checkout", scope="module")
def _checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with two new files, and nothing else changed."""
    folder = running.link_rooms(tmp_path_factory.mktemp("new") / "checkout")
    found = re.search(r"```python\n(.*?)```", _SECTION, re.DOTALL)
    assert found is not None
    processes = folder / "utils/processes"
    (processes / "smooth.py").write_text(found[1])
    (processes / "shift.py").write_text(_SHIFT)
    return folder


@pytest.fixture(name="muster", scope="module")
def _muster(checkout: Path) -> Iterator[serving.Served]:
    with serving.served(checkout) as muster:
        yield muster


@pytest.fixture(name="client")
def _client(muster: serving.Served) -> Iterator[Muster]:
    token = muster.admin_headers()["Authorization"].removeprefix("Bearer ")
    with Muster(muster.base_url, token=token) as client:
        yield client


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


class TestTenLines:
    def test_they_are_not_many_more(self, checkout: Path) -> None:
        text = (checkout / "utils/processes/smooth.py").read_text()
        assert len(text.splitlines()) <= 14

    def test_there_is_an_endpoint(self, muster: serving.Served) -> None:
        shown = httpx.get(f"{muster.base_url}/v1/processes/smooth").json()
        assert shown["summary"] == "Smooths a signal by a moving mean"
        assert shown["parameters"]["properties"]["width"]["default"] == 3
        document = httpx.get(f"{muster.base_url}/openapi.json").json()
        said = document["paths"]["/v1/processes/smooth"]["post"]
        assert {"summary", "description", "requestBody"} <= set(said)

    def test_the_commands_of_the_readme(
        self, muster: serving.Served, tmp_path: Path
    ) -> None:
        terminal = re.search(r"```sh\n(.*?)```", _SECTION, re.DOTALL)
        assert terminal is not None
        np.save(tmp_path / "signal.npy", np.arange(9, dtype=np.float32))
        token = muster.admin_headers()["Authorization"].removeprefix("Bearer ")
        host = muster.base_url.removeprefix("http://")
        done = subprocess.run(
            ["sh", "-e"],
            input=terminal[1].replace("localhost:8000", host),
            cwd=tmp_path,
            env={"TOKEN": token, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            check=True,
            text=True,
        )
        assert done.stdout.count('"status":"queued"') == 2, done.stdout

    def test_what_does_not_fit_is_said(self, muster: serving.Served) -> None:
        answer = httpx.post(
            f"{muster.base_url}/v1/processes/smooth",
            json={"array": [1], "width": "wide"},
            headers=muster.admin_headers(),
        )
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", "width"]


class TestTypedClient:
    def test_of_a_new_file(self, client: Muster, checkout: Path) -> None:
        smooth = _module(checkout / "utils/processes/smooth.py").smooth
        signal = np.array([0, 0, 3, 0, 0], np.float32)
        np.testing.assert_array_equal(
            client.call(smooth, signal), smooth(signal)
        )

    def test_classes_paths_and_what_json_lacks(
        self, client: Muster, checkout: Path
    ) -> None:
        """Types of arrays are kept, wherever these are."""
        shift = _module(checkout / "utils/processes/shift.py")
        part = shift.Part(np.array([[1, 2]], np.int8))
        found = client.call(
            shift.parts__name_shift, "ä b", part, all=np.array([1j, np.nan])
        )
        assert isinstance(found, shift.Shifted) and np.isnan(found.mean)
        first = found.parts["ä b"]
        assert (first.values.dtype, first.values.tolist()) == ("i1", [[1, 2]])
        assert found.parts["all"].values.dtype == "complex128"

    def test_of_what_is_shipped(self, client: Muster) -> None:
        wave = np.sin(np.arange(64) / 2)
        found: Spectrum = client.call(spectrum, wave, sampling_rate=8.0)
        here = spectrum(wave, sampling_rate=8.0)
        np.testing.assert_allclose(found.amplitudes, here.amplitudes)
        report: ArrayReport = client.call(
            np_array, np.arange(3, dtype="f4"), operation=Operation.NORMALIZE
        )
        assert (report.dtype, report.operation) == ("float32", "normalize")

    def test_what_is_refused(self, client: Muster) -> None:
        with pytest.raises(ValidationError):
            client.call(spectrum, np.zeros(8), sampling_rate=-1)
        with pytest.raises(CallError, match="NaN") as caught:
            client.call(spectrum, np.full(8, np.nan))
        assert caught.value.problem["status"] == 409

    def test_types_are_checked(self, tmp_path: Path) -> None:
        program = tmp_path / "wrong.py"
        program.write_text(
            "from scripts.client import Muster\n"
            "from utils.processes.np_array import np_array\n"
            "def run(muster: Muster) -> int:\n"
            "    return muster.call(np_array, 3, opration=4)\n"
        )
        done = subprocess.run(
            [sys.executable, "-m", "mypy", str(program)],
            cwd=running.REPOSITORY,
            capture_output=True,
            check=False,
            text=True,
        )
        assert "opration" in done.stdout and "ArrayReport" in done.stdout
