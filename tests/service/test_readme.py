"""The README: every command of its tour is run, and answers as it says."""

import json
import os
import re
from typing import Any

import pytest

from config.settings import Settings
from tests.service import terminal
from tests.service.serving import ROOT, served

pytestmark = pytest.mark.service

README = terminal.page("README.md")


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
    typed = [
        step
        for step in terminal.steps(README)
        if "activate" not in step.command
    ]
    assert len(typed) >= 6
    with served() as muster:
        printed = terminal.answers(
            typed,
            url=muster.base_url,
            folder=ROOT,
            MONGO_DB_NAME=muster.database,
            MONGO_DB_URI=os.environ["MONGO_DB_URI"],
        )
    for step, answer in zip(typed, printed, strict=True):
        assert _form(answer) == _form(step.printed), step.command


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
