"""Stamps: what one process renews, all others see at once."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from config.stamps import Stamps, slots_of

# Renews a tag for every line that it reads, and says so.
_OTHER = """
import sys
from pathlib import Path
from config.stamps import Stamps
stamps = Stamps(Path(sys.argv[1]))
for line in sys.stdin:
    stamps.renew_all() if line == "*\\n" else stamps.renew([line.strip()])
    print(stamps.machine, flush=True)
"""
_SLOTS = slots_of(["event:a", "lists"])


def test_other_processes_see_it(tmp_path: Path) -> None:
    path = tmp_path / "made" / "stamps"
    stamps = Stamps(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with subprocess.Popen(
        [sys.executable, "-c", _OTHER, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdin is not None and other.stdout is not None
        seen = {stamps.read(_SLOTS)}
        for tag in ("event:a", "event:a", "lists", "*"):
            other.stdin.write(f"{tag}\n")
            other.stdin.flush()
            assert other.stdout.readline() == f"{stamps.machine}\n"
            seen.add(stamps.read(_SLOTS))
        assert len(seen) == 5
        other.stdin.write("event:b\n")
        other.stdin.flush()
        other.stdout.readline()
        assert stamps.read(_SLOTS) in seen
        other.stdin.close()


def test_an_old_stamp_never_comes_back(tmp_path: Path) -> None:
    """As of two counters that begin from the same number."""
    one, other = (Stamps(tmp_path / "stamps") for _ in range(2))
    seen = set()
    for _ in range(1000):
        for stamps in (one, other):
            stamps.renew(["lists"])
            seen.add(stamps.read(_SLOTS))
    assert len(seen) == 2000


def test_a_later_process_ends_nothing(tmp_path: Path) -> None:
    first = Stamps(tmp_path / "stamps")
    first.renew(["event:a"])
    before = first.read(_SLOTS), first.machine
    second = Stamps(tmp_path / "stamps")
    assert (second.read(_SLOTS), second.machine) == before
    assert Stamps(tmp_path / "elsewhere").machine != second.machine


def test_no_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        Stamps(tmp_path / "file" / "stamps")
