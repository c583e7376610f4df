"""The guides: their commands are run, and answer as they say."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import terminal
from tests.service.running import free_port, link_checkout
from tests.service.serving import Served, served

pytestmark = pytest.mark.service

_NO_NPM = shutil.which("npm") is None and os.environ.get("CI") != "true"


@pytest.fixture(name="muster", scope="module")
def _muster() -> Iterator[Served]:
    """The guides' stories need no empty house: one does for all of them."""
    with served() as muster:
        yield muster


def _run(guide: str, muster: Served, folder: Path) -> None:
    text = terminal.page(f"docs/guides/{guide}.md")
    typed = terminal.steps(text)
    terminal.write_files(text, url=muster.base_url, folder=folder)
    printed = terminal.answers(typed, url=muster.base_url, folder=folder)
    terminal.check(typed, printed)


def test_an_evening(muster: Served, tmp_path: Path) -> None:
    _run("organisers", muster, tmp_path)


@pytest.mark.skipif(_NO_NPM, reason="needs Node.js with npm on PATH")
def test_a_front_end(muster: Served, tmp_path: Path) -> None:
    _run("frontend", muster, tmp_path)
    assert (tmp_path / "journey.js").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_from_an_empty_server_to_a_drill(tmp_path: Path) -> None:
    port = free_port()
    checkout = link_checkout(tmp_path / "muster")
    # The environment of the tests, where `run.sh` makes its own.
    (checkout / ".venv").symlink_to(sys.prefix)
    before = set(checkout.iterdir())
    typed = terminal.steps(terminal.page("docs/guides/operators.md"))
    printed = terminal.answers(
        typed,
        url=f"http://127.0.0.1:{port}",
        folder=checkout,
        PORT=str(port),
        WEB_CONCURRENCY="1",
    )
    terminal.check(typed, printed)
    # The promise is asked for twice: before and after all was lost.
    kept = [each for each in printed if '"status":"going"' in each]
    assert len(kept) == 2 and kept[0] == kept[1]
    # Nothing is left that git would see.
    assert set(checkout.iterdir()) - before == {checkout / ".muster"}
