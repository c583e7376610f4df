"""The contributors' guide: its module is added to a copy, and works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import terminal
from tests.service.running import REPOSITORY

pytestmark = pytest.mark.service

_GUIDE = terminal.page("docs/guides/contributors.md")
# What the guide changes, and what the checks of it read.
_ROOMS = (
    "bench", "config", "docs", "models", "routes", "scripts", "tests", "utils"
)  # fmt: skip
_FILES = ("app.py", "pyproject.toml", "README.md")
_CACHE = ".mypy_cache"
_BLOCK = re.compile(
    r"^`(?P<path>[\w/.]+)`:$|^```(?P<kind>python|diff)\n(?P<text>.*?)^```",
    re.DOTALL | re.M,
)


def _changes() -> list[tuple[str, str, str]]:
    """Each block of the guide's code: its file, its kind, its text."""
    path, found = "", []
    for block in _BLOCK.finditer(_GUIDE):
        if block["path"]:
            path = block["path"]
        else:
            found.append((path, block["kind"], block["text"]))
    return found


def _copy(folder: Path) -> Path:
    """A copy of the repository, with what mypy knows of it."""
    unwanted = shutil.ignore_patterns("__pycache__", "pictures", "results")
    for room in _ROOMS:
        shutil.copytree(REPOSITORY / room, folder / room, ignore=unwanted)
    for name in _FILES:
        shutil.copy2(REPOSITORY / name, folder)
    if (REPOSITORY / _CACHE).exists():
        # It is checked again where it is not there: that takes a minute.
        shutil.copytree(REPOSITORY / _CACHE, folder / _CACHE)
    return folder


def _apply(changes: list[tuple[str, str, str]], checkout: Path) -> None:
    for path, kind, text in changes:
        file = checkout / path
        if kind == "python":
            assert not file.exists(), f"{path} is there already"
            file.write_text(text, "utf-8")
            continue
        lines = text.splitlines(keepends=True)
        before = "".join(each[1:] for each in lines if each[0] in " -")
        after = "".join(each[1:] for each in lines if each[0] in " +")
        present = file.read_text("utf-8")
        assert present.count(before) == 1, f"{path} has no one\n{before}"
        file.write_text(present.replace(before, after), "utf-8")


def _commands() -> list[str]:
    """The checks that the guide has one run, short of all of them."""
    blocks = re.findall(r"^```sh\n(.*?)^```", _GUIDE, re.DOTALL | re.M)
    return [line for block in blocks for line in block.splitlines()]


def test_announcements(tmp_path: Path) -> None:
    changes = _changes()
    assert len({path for path, _, _ in changes}) >= 10
    checkout = _copy(tmp_path)
    _apply(changes, checkout)
    commands = _commands()
    assert len(commands) == 3
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # Its processes are none of this run's.
        "PYTEST_ADDOPTS": "-q -p no:xdist -p no:cacheprovider",
    }
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=checkout, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout[-4000:], done.stderr)
        assert "no tests ran" not in done.stdout
