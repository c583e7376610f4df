"""Compose: valid, and what it names is there."""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.settings import Settings
from tests.deploy.proxies import make_settings, shipped
from tests.service.running import REPOSITORY, free_port, wait_for


def _compose() -> tuple[str, ...] | None:
    """The guide's `docker compose`, or else its forerunner."""
    plugin = ("docker", "compose")
    if shutil.which("docker") is not None:
        asked = subprocess.run(
            [*plugin, "version"], capture_output=True, check=False
        )
        if asked.returncode == 0:
            return plugin
    alone = shutil.which("docker-compose")
    return None if alone is None else (alone,)


COMPOSE = _compose()
pytestmark = pytest.mark.skipif(
    COMPOSE is None and os.environ.get("CI") != "true",
    reason="needs Docker Compose, as a plugin or Debian's docker-compose",
)

# Those that run Muster's image.
MUSTERS = ("web1", "web2", "worker", "migrate")


@pytest.fixture(scope="module", name="whole")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The file as Compose understands it, with the guide's own `.env`."""
    assert COMPOSE is not None
    folder = tmp_path_factory.mktemp("compose")
    shutil.copytree(REPOSITORY / "deploy", folder / "deploy")
    make_settings(folder, "deploy/.env")
    said = subprocess.run(
        [*COMPOSE, "--file", "deploy/compose.yaml", "--env-file",
         "deploy/.env", "config"],
        cwd=folder, env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "not set" not in said.stderr
    read: dict[str, Any] = yaml.safe_load(said.stdout)
    return read


@pytest.fixture(name="services")
def _services(whole: dict[str, Any]) -> dict[str, Any]:
    services: dict[str, Any] = whole["services"]
    return services


def test_who_is_there(services: dict[str, Any]) -> None:
    assert set(services) == {
        *MUSTERS, "nginx", "mongo", "mongo-key", "mongo-init", "redis"
    }  # fmt: skip


@pytest.mark.parametrize("name", MUSTERS)
def test_settings_are_muster_s(
    services: dict[str, Any],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Each is one, and Muster would start with them."""
    environment = services[name]["environment"]
    names = set(Settings.__pydantic_fields__)
    assert {each.lower() for each in environment} <= names
    monkeypatch.chdir(tmp_path)
    for setting in names:
        monkeypatch.delenv(setting.upper(), raising=False)
    for setting, text in environment.items():
        monkeypatch.setenv(setting, text)
    settings = Settings()
    assert not settings.in_development
    assert settings.hosts == ("localhost",)
    assert settings.signing_key()


@pytest.mark.parametrize("name", ["worker", "migrate"])
def test_commands_are_there(services: dict[str, Any], name: str) -> None:
    python, switch, module, *_ = services[name]["command"]
    assert (python, switch) == ("python3", "-m")
    assert importlib.util.find_spec(module) is not None


def test_files_are_there(services: dict[str, Any]) -> None:
    volumes = [
        volume
        for service in services.values()
        for volume in service.get("volumes", [])
    ]
    # Of two versions, one says it in words and the other in parts.
    sources = [
        volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
        for volume in volumes
    ]
    mounted = [source for source in sources if source.startswith("/")]
    assert len(mounted) == 5
    for path in mounted:
        inside = path.partition("/deploy/")[2]
        # The guide has the operator make it.
        assert inside == "tls" or (REPOSITORY / "deploy" / inside).exists()
    assert "docker.sock" not in str(services)


def test_nginx_and_musters_know_each_other(services: dict[str, Any]) -> None:
    inside = services["nginx"]["networks"]["inside"]
    webs = re.findall(
        r"^    server (\w+):(\d+)", shipped("several-servers.conf"), re.M
    )
    assert webs == [("web1", "8000"), ("web2", "8000")]
    for name, _ in webs:
        web = services[name]
        proxies = web["environment"]["TRUSTED_PROXIES"]
        assert proxies == inside["ipv4_address"]
        # By one name, one address: those that nginx shares no other network.
        shared = set(services["nginx"]["networks"]) & set(web["networks"])
        assert shared == {"inside"}
    sessions = ip_network(
        Settings.__pydantic_fields__["session_subnets"].default
    )
    assert ip_address(inside["ipv4_address"]) not in sessions


def test_nobody_else_gets_a_fixed_address(
    whole: dict[str, Any], services: dict[str, Any]
) -> None:
    """MongoDB starts first, and would be given nginx's."""
    (inside,) = whole["networks"]["inside"]["ipam"]["config"]
    handed_out = ip_network(inside["ip_range"])
    assert handed_out[0] in ip_network(inside["subnet"])
    fixed = {
        name: ip_address(service["networks"]["inside"]["ipv4_address"])
        for name, service in services.items()
        if "ipv4_address" in str(service.get("networks"))
    }
    assert set(fixed) == {"nginx", "web1", "web2"}
    assert len(set(fixed.values())) == 3
    for address in fixed.values():
        assert address in ip_network(inside["subnet"])
        assert address not in handed_out


def test_musters_may_little(services: dict[str, Any]) -> None:
    for name in MUSTERS:
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["stop_grace_period"] == "40s"
        assert "ports" not in service


def test_databases_are_inside(services: dict[str, Any]) -> None:
    for name in ("mongo", "redis", "mongo-init"):
        assert list(services[name]["networks"]) == ["inside"]
        assert "ports" not in services[name]


@pytest.mark.skipif(
    shutil.which("redis-server") is None and os.environ.get("CI") != "true",
    reason="needs redis-server on PATH",
)
def test_redis_wants_its_password(
    services: dict[str, Any], tmp_path: Path
) -> None:
    """And its command line, which is everybody's to read, does not have it."""
    redis = services["redis"]
    command = [word.replace("$$", "$") for word in redis["command"]]
    assert "redis-server" in command[-1]
    # At a port of the test; the image's entrypoint only sheds root's rights.
    port = free_port()
    command[-1] = command[-1].replace("<<END\n", f"<<END\nport {port}\n")
    entrypoint = tmp_path / "docker-entrypoint.sh"
    entrypoint.write_text('#!/bin/sh\nexec "$@"\n')
    entrypoint.chmod(0o700)
    settings = {**redis["environment"]}
    password = settings["REDISCLI_AUTH"]
    settings["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    with subprocess.Popen(
        command, cwd=tmp_path, env=settings, stdout=subprocess.DEVNULL
    ) as server:
        try:
            wait_for(lambda: _asked(port, "PING") == b"-NOAUTH")
            assert _asked(port, f"AUTH {password}") == b"+OK"
            told = Path(f"/proc/{server.pid}/cmdline").read_bytes()
            assert b"redis-server" in told
            assert password.encode() not in told
        finally:
            server.terminate()


def _asked(port: int, command: str) -> bytes:
    """The first word of Redis' answer; none while it does not listen."""
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(1024).split()[0]
    except ConnectionRefusedError:
        return b""


@pytest.mark.parametrize("name", ["deploy/.env", "deploy/environment"])
def test_secrets_are_nobody_else_s(tmp_path: Path, name: str) -> None:
    """The guide's own commands: who else may read them, and does git?"""
    (tmp_path / "deploy").mkdir()
    make_settings(tmp_path, name)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert "JWT_SECRET_KEY=" in (tmp_path / name).read_text("utf-8")
    ignored = (REPOSITORY / ".gitignore").read_text("utf-8").splitlines()
    assert f"/{name}" in ignored


def test_key_is_made_once(tmp_path: Path) -> None:
    owner = f"{os.getuid()}:{os.getgid()}"
    script = REPOSITORY / "deploy/mongo/make-key.sh"
    key = tmp_path / "keyfile"
    subprocess.run(["sh", script, tmp_path, owner], check=True)
    text = key.read_bytes()
    subprocess.run(["sh", script, tmp_path, owner], check=True)
    assert key.read_bytes() == text
    assert key.stat().st_mode & 0o777 == 0o400
    # What MongoDB takes: 6 to 1024 characters of base64.
    assert re.fullmatch(rb"[A-Za-z0-9+/=]{1008}", text)
