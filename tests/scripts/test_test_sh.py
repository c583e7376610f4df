"""`test.sh` runs beside an engine what needs one, and nothing else."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)


@pytest.fixture(name="house")
def _house(tmp_path: Path) -> Path:
    """A folder in which only the script itself is real."""
    shutil.copy(ROOT / "test.sh", tmp_path)
    _write(tmp_path / "scripts/environment.sh", "")
    _write(tmp_path / "tests/engine/get-jupyter.sh", "")
    _write(tmp_path / "tests/engine/with-docker.sh", "echo beside; exit 69")
    _write(tmp_path / "bin/python", '[ "$1" = -c ] || echo alone')
    return tmp_path


def run(
    house: Path, *arguments: str, engine: str = ""
) -> subprocess.CompletedProcess[str]:
    """What the script says."""
    path = f"{house}/bin:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", str(house / "test.sh"), *arguments],
        env={"PATH": path, "MUSTER_ENGINE": engine},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["-m", "engine"], "beside"),
        (["tests/engine/test_door.py"], "beside"),
        (["-m", "not engine"], "alone"),
        (["-k", "cancel"], "alone"),
    ],
)
def test_where(house: Path, arguments: list[str], where: str) -> None:
    assert run(house, *arguments).stdout.split() == [where]


@pytest.mark.parametrize(("engine", "status"), [("", 0), ("required", 69)])
def test_no_engine(house: Path, engine: str, status: int) -> None:
    """It is left out where none can be, unless it must be there."""
    assert run(house, engine=engine).returncode == status
