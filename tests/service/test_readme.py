"""The README: every command of its tour is run, and answers as it says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from tests.service.serving import ROOT, served

pytestmark = pytest.mark.service

README = (ROOT / "README.md").read_text("utf-8")


def _steps() -> list[tuple[str, str]]:
    """The commands of the README's terminals, with what they print."""
    terminals = re.findall(r"^```console\n(.*?)^```", README, re.DOTALL | re.M)
    return [
        (command, printed)
        for terminal in terminals
        for command, _, printed in (
            step.partition("\n")
            for step in re.split(r"^\$ ", terminal, flags=re.M)[1:]
        )
    ]


def _form(printed: str) -> Any:
    """What is the same at every run: not ids, times, numbers and tokens."""
    if printed.startswith("{"):
        return _shape(json.loads(printed))
    return re.sub(r"\d[\d.]*|curl .*", "#", printed)


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shape(inner) for inner in value]
    return type(value).__name__


def test_the_tour() -> None:
    steps = [step for step in _steps() if "activate" not in step[0]]
    assert len(steps) >= 6
    with served() as muster:
        mark = "-- the next command --"
        host = muster.base_url.removeprefix("http://")
        script = "".join(
            f"{command}\necho; echo '{mark}'\n" for command, _ in steps
        ).replace("localhost:8000", host)
        terminal = subprocess.run(
            ["sh", "-e"],
            input=script,
            text=True,
            capture_output=True,
            check=True,
            cwd=ROOT,
            env={
                **os.environ,
                "MONGO_DB_NAME": muster.database,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
        )
    answers = terminal.stdout.split(mark)[:-1]
    for (command, printed), answer in zip(steps, answers, strict=True):
        assert _form(answer.strip()) == _form(printed.strip()), command


def test_two_commands_are_there() -> None:
    for script in re.findall(r"\bsh (\w+\.sh)", README):
        assert (ROOT / script).exists()


def test_the_map_is_true() -> None:
    rooms = re.findall(r"^\| `(\w+[/.]\w*)` \|", README, re.M)
    assert len(rooms) >= 9
    assert all((ROOT / room).exists() for room in rooms)


def test_settings_are_all_listed() -> None:
    names = {name.upper() for name in Settings.__pydantic_fields__}
    table = README.partition("## Settings")[2].partition("## Deploying")[0]
    assert names == set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", table)) & names
    assert {"PORT", "MONGO_DB_URI"} <= names
