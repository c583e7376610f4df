"""nginx as `deploy/nginx` sets it up, before Musters of a test."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import httpx

from tests.service.running import (
    REPOSITORY,
    Service,
    answers_or_ended,
    free_port,
    wait_for,
)

GUIDE = (REPOSITORY / "deploy/README.md").read_text("utf-8")
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
_SHIPPED = REPOSITORY / "deploy/nginx"
_MAIN = """\
{user}daemon off;
worker_processes 2;
pid {folder}/pid;
events {{}}
http {{
    {temporary}
    include {folder}/site.conf;
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def shipped(name: str) -> str:
    """A file of `deploy/nginx`."""
    return (_SHIPPED / name).read_text("utf-8")


class Nginx:
    """The shipped files at other paths and ports.

    Args:
        folder: where they, and all that nginx writes, are put.
        site: the file in `deploy/nginx` that says which servers there are.
        servers: the address there, with the one of the test.
    """

    def __init__(
        self, folder: Path, site: str, servers: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.port, self.plain_port = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        make_certificate(folder)
        changes = {
            **servers,
            "/etc/nginx/muster": str(folder / "muster"),
            "/etc/nginx/tls": str(folder / "tls"),
            "/var/log/nginx/muster.log": str(folder / "access.log"),
            "/var/www/acme": str(folder / "acme"),
            "listen 443 ": f"listen 127.0.0.1:{self.port} ",
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            # Where there is no IPv6, its lines are not to be there.
            "listen [::]:443 ": f"{_listen_6()}:{self.port} ",
            "listen [::]:80;": f"{_listen_6()}:{self.plain_port};",
        }
        (folder / "muster").mkdir()
        texts = {
            "site.conf": shipped(site),
            **{
                f"muster/{path.name}": path.read_text("utf-8")
                for path in (_SHIPPED / "muster").iterdir()
            },
        }
        everything = "".join(texts.values())
        for old in changes:
            assert old in everything, f"{old} is in no file of deploy/nginx"
        for name, text in texts.items():
            for old, new in changes.items():
                text = text.replace(old, new)
            (folder / name).write_text(text)
        self._write_main()

    def __enter__(self) -> Self:
        with (self.folder / "errors").open("wb") as errors:
            # It lives as long as this object says.
            # pylint: disable-next=consider-using-with
            self._process = subprocess.Popen(
                self._command(), stderr=errors, start_new_session=True
            )
        try:
            wait_for(
                partial(
                    answers_or_ended,
                    self._process,
                    self.client,
                    "/health/live",
                )
            )
            said = (self.folder / "errors").read_text("utf-8")
            assert self._process.poll() is None, said
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)

    @property
    def trust(self) -> ssl.SSLContext:
        """What a client needs to believe this server."""
        certificate = self.folder / "tls/fullchain.pem"
        return ssl.create_default_context(cafile=str(certificate))

    def client(self, address: str = "127.0.0.2") -> httpx.Client:
        """A client at an address; each request has a connection of its own."""
        transport = httpx.HTTPTransport(
            verify=self.trust,
            local_address=address,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        return httpx.Client(
            base_url=self.url, transport=transport, timeout=60, trust_env=False
        )

    def check(self) -> str:
        """What nginx itself says of the files, by `nginx -t`."""
        said = subprocess.run(
            self._command("-t"), capture_output=True, text=True, check=False
        )
        return said.stderr

    def log(self) -> str:
        """The lines of requests."""
        return (self.folder / "access.log").read_text("utf-8")

    def wait_for_line(self, part: str) -> None:
        """Waits until a request is logged in which this stands."""
        wait_for(lambda: part in self.log())

    def _write_main(self) -> None:
        # Its workers are of another user where root starts it, and could not
        # read what a test wrote.
        is_root = Path("/proc/self").stat().st_uid == 0
        temporary = "\n    ".join(
            f"{name}_temp_path {self.folder}/{name};" for name in _TEMPORARY
        )
        text = _MAIN.format(
            user="user root;\n" if is_root else "",
            folder=self.folder,
            temporary=temporary,
        )
        (self.folder / "nginx.conf").write_text(text)

    def _command(self, *more: str) -> Sequence[str]:
        assert NGINX is not None
        return (NGINX, "-c", str(self.folder / "nginx.conf"), "-e", "stderr",
                *more)  # fmt: skip


def has_ipv6() -> bool:
    """Whether this machine's own address is one of IPv6, too."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def _listen_6() -> str:
    return "listen [::1]" if has_ipv6() else "# listen [::1]"


def make_certificate(folder: Path) -> None:
    """A certificate for trying out, by the guide's own command."""
    found = re.search(r"^(openssl req (?:.*\\\n)*.*)$", GUIDE, re.M)
    assert found is not None
    (folder / "tls").mkdir()
    subprocess.run(
        ["sh", "-ec", found[1].replace("deploy/tls", str(folder / "tls"))],
        check=True,
        capture_output=True,
    )


def make_settings(folder: Path, name: str) -> None:
    """Muster's settings, with secrets, by the guide's own command."""
    found = re.search(
        rf"^\(umask 077; cat >{re.escape(name)}\) <<END\n.*?^END$",
        GUIDE,
        re.S | re.M,
    )
    assert found is not None
    subprocess.run(["sh", "-ec", found[0]], cwd=folder, check=True)


@contextmanager
def held(musters: list[Service]) -> Iterator[None]:
    """Whatever comes meanwhile, none of them reads it."""
    try:
        for muster in musters:
            send(muster, signal.SIGSTOP)
        yield
    finally:
        for muster in musters:
            send(muster, signal.SIGCONT)


def send(muster: Service, signum: signal.Signals) -> None:
    """To each of its processes."""
    for pid in muster.processes():
        os.kill(pid, signum)


def unread(musters: list[Service]) -> list[int]:
    """On how many connections something waits to be read, by server."""
    ports = [muster.port for muster in musters]
    found = dict.fromkeys(ports, 0)
    rows = Path("/proc/net/tcp").read_text("utf-8").splitlines()[1:]
    for row in rows:
        _, local, _, state, queues, *_ = row.split()
        port, waiting = int(local[-4:], 16), int(queues.partition(":")[2], 16)
        # 01 is an open connection; of one that listens, it is the backlog.
        if state == "01" and waiting and port in found:
            found[port] += 1
    return list(found.values())
