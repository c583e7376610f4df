"""A newcomer's terminal: what a page says to type is typed, and compared."""

import json
import os
import re
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.service.running import REPOSITORY, environment

# What no two runs have in common.
_IDS: Final = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{24}\b"
)
_NUMBERS: Final = re.compile(r"\d[\d.:TZ-]*")
# What a machine compares: `going`, `/problems/no-seat`, `event.approved`.
_WORD: Final = re.compile(r"[a-z/][a-z./-]*")
_LEFT_OUT: Final = "…"
_MARK: Final = "-- the next command --"
_HOST: Final = "localhost:8000"
_FILE: Final = re.compile(
    r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```", re.DOTALL | re.M
)


@dataclass(frozen=True)
class Step:
    """A command of a page, with what the page says that it prints."""

    command: str
    printed: str


def page(name: str) -> str:
    """The text of a page, by its path in the repository."""
    return (REPOSITORY / name).read_text("utf-8")


def steps(text: str) -> list[Step]:
    """The commands of a page's terminals, in their order.

    A command goes on in the next line after a backslash, and where quotes are
    open.
    """
    terminals = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.M)
    return [
        _step(typed)
        for terminal in terminals
        for typed in re.split(r"^\$ ", terminal, flags=re.M)[1:]
    ]


def write_files(text: str, *, url: str, folder: Path) -> None:
    """Writes down the files that a page shows whole, below their names."""
    for name, shown in _FILE.findall(text):
        (folder / name).write_text(_at(url, shown), "utf-8")


def answers(
    typed: list[Step], *, url: str, folder: Path, **settings: str
) -> list[str]:
    """What each command prints, in one terminal; all must succeed.

    Args:
        typed: the commands.
        url: where the service is that pages call `localhost:8000`.
        folder: where the terminal stands.
        settings: of Muster, as they were exported there before.
    """
    script = "".join(
        f"{each.command}\necho; echo '{_MARK}'\n" for each in typed
    )
    with subprocess.Popen(
        ["sh", "-e"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(**settings),
        start_new_session=True,
    ) as terminal:
        try:
            output, errors = terminal.communicate(_at(url, script), 400)
        finally:
            # What it started, and did not end.
            with suppress(ProcessLookupError):
                os.killpg(terminal.pid, signal.SIGKILL)
    printed = [each.strip() for each in output.split(_MARK)]
    assert terminal.returncode == 0, (
        typed[len(printed) - 1].command,
        printed[-1],
        errors,
    )
    return printed[:-1]


def check(typed: list[Step], printed: list[str]) -> None:
    """Fails where a command prints something else than its page says.

    Ids, numbers in texts, times and tokens differ from run to run. Of a JSON
    answer, words that programs compare, numbers, and which members there are
    must be the page's; `…` stands for what it leaves out.
    """
    faults = [
        f"{step.command}\nsays\n{answer}\nand not\n{step.printed}"
        for step, answer in zip(typed, printed, strict=True)
        if not agrees(step.printed, answer)
    ]
    assert not faults, "\n".join(faults)


def agrees(said: str, answer: str) -> bool:
    """Whether an answer is what a page says, as far as it can be."""
    if said.startswith(("{", "[")):
        try:
            found = json.loads(answer)
        except ValueError:
            return False
        whole = _LEFT_OUT not in said
        shown = re.sub(rf",?{_LEFT_OUT}(?=[}}\]])", "", said)
        return _agree(json.loads(shown), found, whole=whole)
    pattern = ".*".join(map(re.escape, _form(said).split(_LEFT_OUT)))
    return re.fullmatch(pattern, _form(answer), re.DOTALL) is not None


def _at(url: str, text: str) -> str:
    return text.replace(_HOST, url.removeprefix("http://"))


def _step(typed: str) -> Step:
    lines = typed.splitlines()
    end = 1
    while end < len(lines) and (
        lines[end - 1].endswith("\\")
        or "\n".join(lines[:end]).count("'") % 2 == 1
    ):
        end += 1
    return Step("\n".join(lines[:end]), "\n".join(lines[end:]).strip())


def _form(text: str) -> str:
    return _NUMBERS.sub("#", _IDS.sub("#", text.strip()))


def _agree(said: Any, found: Any, *, whole: bool) -> bool:
    if isinstance(said, dict) and isinstance(found, dict):
        if said.keys() - found.keys() or (whole and len(said) < len(found)):
            return False
        return all(
            _agree(value, found[name], whole=whole)
            for name, value in said.items()
        )
    if isinstance(said, list) and isinstance(found, list):
        return len(said) == len(found) and all(
            _agree(*both, whole=whole)
            for both in zip(said, found, strict=True)
        )
    if isinstance(said, float):
        return isinstance(found, float | int)
    if isinstance(said, str) and not _WORD.fullmatch(said):
        return isinstance(found, str)
    return bool(said == found)
