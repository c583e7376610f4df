"""Log files: several processes write, and no line is lost or torn."""

import multiprocessing
import os
from pathlib import Path

from config.log_files import RotatingFile

_PROCESSES = 4
_LINES = 1500


def _file(path: Path, **limits: int) -> RotatingFile:
    return RotatingFile(path, **{"most_bytes": 1000, "most_files": 3, **limits})


def _write_many(path: Path, writer: int) -> None:
    """What one of several processes does."""
    handler = _file(path, most_bytes=20_000, most_files=100)
    for number in range(_LINES):
        handler.write(f"{writer} {number} " + "x" * (number % 200))
    handler.close()


class TestRotation:
    def test_a_full_file_is_renamed(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        handler = _file(path)
        for number in range(100):
            handler.write(f"{number:099d}")
        handler.close()
        assert sorted(os.listdir(tmp_path)) == [
            "log", "log.1", "log.2", "log.lock",
        ]  # fmt: skip
        kept = [
            int(line)
            for name in ("log.2", "log.1", "log")
            for line in (tmp_path / name).read_text("utf-8").splitlines()
        ]
        assert kept == list(range(70, 100))

    def test_one_file_begins_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        handler = _file(path, most_files=1)
        for number in range(11):
            handler.write(f"{number:099d}")
        handler.close()
        assert path.read_text("utf-8") == f"{10:099d}\n"
        assert sorted(os.listdir(tmp_path)) == ["log", "log.lock"]

    def test_a_file_that_others_renamed_is_left(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        handler = _file(path)
        handler.write("before")
        path.rename(tmp_path / "moved")
        handler.write("after")
        handler.close()
        assert path.read_text("utf-8") == "after\n"

    def test_it_is_appended_to(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_text("before\n", "utf-8")
        handler = _file(path)
        handler.write("after \udc80")
        handler.close()
        assert path.read_text("utf-8") == "before\nafter \\udc80\n"

    def test_processes_lose_and_tear_no_line(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        context = multiprocessing.get_context("spawn")
        writers = [
            context.Process(target=_write_many, args=(path, writer))
            for writer in range(_PROCESSES)
        ]
        for process in writers:
            process.start()
        for process in writers:
            process.join(60)
            assert process.exitcode == 0
        files = [file for file in tmp_path.iterdir() if file.suffix != ".lock"]
        assert len(files) > 5
        lines = [
            line
            for file in files
            for line in file.read_text("utf-8").splitlines()
        ]
        expected = [
            f"{writer} {number} " + "x" * (number % 200)
            for writer in range(_PROCESSES)
            for number in range(_LINES)
        ]
        assert sorted(lines) == sorted(expected)
