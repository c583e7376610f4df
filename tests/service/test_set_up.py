"""What `run.sh` does before it serves, with programs that only take notes."""

import subprocess
from pathlib import Path

import pytest

from tests.service.running import environment, link_checkout

pytestmark = pytest.mark.service

# Notes its name and arguments; makes an environment when it is asked to.
PROGRAM = """#!/bin/sh
echo "${0##*/} $*" >>"$NOTES"
case "$*" in
    "-m venv .venv") mkdir -p .venv && cp -R "$PROGRAMS" .venv/bin ;;
esac
"""
INSTALLED = "pip install --quiet --disable-pip-version-check -r"
SERVED = "gunicorn --config python:config.server app:app"


class Machine:
    """A machine where only `run.sh` is real."""

    def __init__(self, folder: Path) -> None:
        self.checkout = link_checkout(folder / "checkout")
        self.programs = folder / "programs"
        self._notes = folder / "notes"
        self.programs.mkdir()
        for name in ("python3", "pip", "gunicorn"):
            self.replace(name, PROGRAM)

    def replace(self, name: str, text: str) -> None:
        """Makes `text` a program."""
        program = self.programs / name
        program.write_text(text, "utf-8")
        program.chmod(0o700)

    def run(
        self, cwd: str = "", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs `sh run.sh`, without an active environment."""
        known = environment(VIRTUAL_ENV="", NOTES=str(self._notes))
        known["PATH"] = f"{self.programs}:/usr/bin:/bin"
        known["PROGRAMS"] = str(self.programs)
        self._notes.write_text("", "utf-8")
        return subprocess.run(
            ["sh", self.checkout / "run.sh" if cwd else "run.sh"],
            cwd=cwd or self.checkout,
            env=known | settings,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    def notes(self) -> list[str]:
        """The programs that the last run called; not the check of Python."""
        lines = self._notes.read_text("utf-8").splitlines()
        return [line for line in lines if "sys.version_info" not in line]


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class TestSetUp:
    def test_fresh_machine(self, machine: Machine) -> None:
        run = machine.run()
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout == "muster: installing requirements.txt\n"
        assert machine.notes() == [
            "python3 -m venv .venv",
            f"{INSTALLED} requirements.txt",
            SERVED,
        ]

    def test_second_time(self, machine: Machine) -> None:
        machine.run()
        run = machine.run()
        assert run.stdout == ""
        assert machine.notes() == [SERVED]

    def test_changed_requirements(self, machine: Machine) -> None:
        machine.run()
        requirements = machine.checkout / "requirements.txt"
        requirements.unlink()
        requirements.write_text("gunicorn\n", "utf-8")
        machine.run()
        assert machine.notes() == [f"{INSTALLED} requirements.txt", SERVED]

    def test_active_environment(self, machine: Machine, tmp_path: Path) -> None:
        active = tmp_path / "active"
        active.mkdir()
        machine.run(VIRTUAL_ENV=str(active))
        assert machine.notes() == [f"{INSTALLED} requirements.txt", SERVED]
        assert not (machine.checkout / ".venv").exists()

    def test_dyno(self, machine: Machine) -> None:
        machine.run(DYNO="web.1")
        assert machine.notes() == [SERVED]
        assert not (machine.checkout / ".venv").exists()

    def test_called_from_elsewhere(self, machine: Machine) -> None:
        machine.run(cwd="/")
        assert (machine.checkout / ".venv").exists()
        assert machine.notes()[-1] == SERVED

    def test_failed_installation_is_repeated(self, machine: Machine) -> None:
        machine.replace("pip", "#!/bin/sh\necho no network >&2\nexit 1\n")
        failed = machine.run()
        assert failed.returncode != 0
        assert failed.stderr == "no network\n"
        assert SERVED not in machine.notes()
        machine.replace("pip", PROGRAM)
        (machine.checkout / ".venv/bin/pip").write_text(PROGRAM, "utf-8")
        machine.run()
        assert machine.notes() == [f"{INSTALLED} requirements.txt", SERVED]

    def test_old_python(self, machine: Machine) -> None:
        machine.replace("python3", "#!/bin/sh\nexit 1\n")
        run = machine.run()
        assert run.returncode != 0
        assert run.stderr == "muster: python3 must be Python 3.11 or newer\n"
        assert machine.notes() == []

    def test_python_without_venv(self, machine: Machine) -> None:
        machine.replace("python3", '#!/bin/sh\n[ "$1" != -m ]\n')
        run = machine.run()
        assert run.returncode != 0
        (line,) = run.stderr.splitlines()
        assert "apt-get install python3-venv" in line
        assert machine.notes() == []
