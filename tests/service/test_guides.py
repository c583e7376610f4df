"""The guides: their commands are run, and answer as they say."""

from pathlib import Path

import pytest

from tests.service import terminal
from tests.service.serving import served

pytestmark = pytest.mark.service


def test_an_evening(tmp_path: Path) -> None:
    typed = terminal.steps(terminal.page("docs/guides/organisers.md"))
    assert len(typed) > 30
    with served() as muster:
        printed = terminal.answers(typed, url=muster.base_url, folder=tmp_path)
    terminal.check(typed, printed)
