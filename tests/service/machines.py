"""Programs beside a service, each on a machine of its own where that can be.

A machine is a network namespace, joined to this one by a wire that can be cut.
It needs root's rights; without them all is on this machine, and nothing is cut.
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from config.embedded import find_server
from tests.service.running import free_port, wait_for

# For measurements between networks: nobody's address on the Internet.
_NETWORK: Final = IPv4Address("198.18.0.0")
_FIRST_PORT: Final = 10_000
_ADDRESSES: Final = 4
_LISTENS_SECONDS: Final = 60


class Machine:
    """This one, or one at the end of a wire."""

    host = "127.0.0.1"
    prefix: Sequence[str] = ()
    can_be_cut = False

    def cut(self) -> None:
        """What is sent either way is lost, and nobody is told."""
        raise RuntimeError("this machine can't be cut off")

    def mend(self) -> None:
        """What is sent arrives again."""
        raise RuntimeError("this machine can't be cut off")


class _Remote(Machine):
    can_be_cut = True

    def __init__(self) -> None:
        # A free port is a number that no other test process draws.
        number = free_port()
        first = _NETWORK + _ADDRESSES * (number - _FIRST_PORT)
        self._name = f"muster{number}"
        self.host = str(first + 2)
        self.prefix = ("ip", "netns", "exec", self._name)
        self._here = str(first + 1)

    def begin(self) -> None:
        """Makes it, and the wire."""
        name = self._name
        _ip(f"netns add {name}")
        _ip(f"link add {name} type veth peer name wire netns {name}")
        _ip(f"address add {self._here}/30 dev {name}")
        _ip(f"link set {name} up")
        _ip(f"-n {name} address add {self.host}/30 dev wire")
        _ip(f"-n {name} link set lo up")
        self.mend()

    def end(self) -> None:
        """Takes it away; its wire goes with it."""
        _ip(f"netns delete {self._name}")

    def cut(self) -> None:
        _ip(f"-n {self._name} link set wire down")

    def mend(self) -> None:
        _ip(f"-n {self._name} link set wire up")


class Program:
    """A program on a machine, and nobody who starts it again.

    Args:
        command: what to run.
        log: where it writes what it says.
        address: host and port where it listens; None where it does not.
        cwd: the folder that it runs in.
        env: its environment; this process's where it is None.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        address: tuple[str, int] | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._log = log
        self._address = address
        self._cwd = cwd
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, without waiting."""
        with self._log.open("ab") as log:
            # It lives until `kill`.
            # pylint: disable-next=consider-using-with
            self._process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_there(self) -> None:
        """Waits until it listens."""
        wait_for(self.listens, _LISTENS_SECONDS)

    def listens(self) -> bool:
        """Whether it can be reached, if it listens at all."""
        if self._address is None:
            return True
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(self._address) == 0

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to it."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it without a warning."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def said(self) -> str:
        """What it wrote."""
        return self._log.read_text("utf-8", "replace")


class External(Program):
    """A server like MongoDB: no password, and nobody who restarts it."""

    def __init__(
        self, folder: Path, *switches: str, place: Machine | None = None
    ) -> None:
        place, port = place or Machine(), free_port()
        settings = folder / "empty.toml"
        settings.touch()
        command = [*place.prefix, str(find_server()), "--config", str(settings)]
        command += ["--host", place.host, "--port", str(port)]
        command += ["--storage-path", str(folder / "data")]
        command += ["--sync-on-commit", "--log-file-max", "128MB", *switches]
        super().__init__(
            command, log=folder / "database.log", address=(place.host, port)
        )
        self.uri = (
            f"mongodb://{place.host}:{port}/"
            "?directConnection=true&retryWrites=false"
        )


def is_missing(program: str) -> bool:
    """Whether one must do without a program; nobody does where CI=true."""
    return shutil.which(program) is None and os.environ.get("CI") != "true"


def why_nothing_is_cut() -> str | None:
    """Why there are no machines at the end of a wire; None where they are."""
    if os.geteuid() != 0:
        return "needs root's rights"
    if is_missing("ip"):
        return "needs ip, of iproute2"
    made = subprocess.run(
        ["unshare", "--net", "true"], check=False, capture_output=True
    )
    return None if made.returncode == 0 else "needs leave to make namespaces"


@contextmanager
def machine() -> Iterator[Machine]:
    """A machine of its own while the block runs; this one where none can be."""
    if why_nothing_is_cut() is not None:
        yield Machine()
        return
    remote = _Remote()
    remote.begin()
    try:
        yield remote
    finally:
        remote.end()


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)
