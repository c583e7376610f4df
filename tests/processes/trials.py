"""Processes that do to a worker what processes may do."""

import os
import select
import signal
import time

import numpy as np

from models.process_errors import ProcessInputError
from utils.process_options import process
from utils.progress import progress


def trial_double(number: int) -> int:
    """Doubles a number."""
    return 2 * number


def trial_count(steps: int, seconds: float = 0.05) -> int:
    """Counts, and says how far it is."""
    for step in range(steps):
        progress(step / steps, f"step {step}")
        # A sleep would fail under the clock of tests/faults/test_clock.py.
        select.select([], [], [], seconds)
    return steps


@process(time_limit_seconds=1)
def trial_sleep(seconds: float) -> float:
    """Sleeps, for a second at most."""
    time.sleep(seconds)
    return seconds


@process(memory_mb=100)
def trial_fill(megabytes: int) -> int:
    """Takes memory, 100 MB at most."""
    return int(np.ones(megabytes * 1024 * 1024, dtype=np.uint8).sum())


@process(retries=2)
def trial_fail(times: int, folder: str) -> int:
    """Fails some times, then succeeds; it counts in a folder."""
    attempt = len(os.listdir(folder)) + 1
    with open(os.path.join(folder, str(attempt)), "w", encoding="ascii"):
        pass
    if attempt <= times:
        raise RuntimeError(f"attempt {attempt}")
    return attempt


@process(retries=2)
def trial_refuse(reason: str) -> int:
    """Refuses what it is given."""
    raise ProcessInputError(reason)


def trial_crash() -> int:
    """Ends as native code that is broken does."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def trial_exit(status: int) -> int:
    """Ends the interpreter."""
    raise SystemExit(status)


def trial_look() -> dict[str, str]:
    """Tells what a process finds around it."""
    return {**os.environ, "cwd": os.getcwd(), "stdin": os.read(0, 10).decode()}


def trial_print(text: str) -> str:
    """Prints to where answers might go."""
    print(text, flush=True)
    os.write(1, text.encode())
    return text


def trial_zeros(rows: int) -> list[list[float]]:
    """Makes something long."""
    return [[0.5] * 1000 for _ in range(rows)]


def trial_touch(path: str, seconds: float) -> str:
    """Touches a file again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        progress(0.5)
        with open(path, "a", encoding="ascii"):
            os.utime(path)
        time.sleep(0.05)
    return path


def trial_append(path: str, line: str) -> str:
    """Adds a line to a file, a moment after it began."""
    time.sleep(0.1)
    with open(path, "a", encoding="ascii") as file:
        file.write(f"{line}\n")
    return line


@process(schedule="*/10 * * * *")
def trial_tick(word: str = "tick") -> str:
    """Runs by itself, every ten minutes."""
    return word
