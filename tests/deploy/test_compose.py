"""Compose: valid, and what it names is there."""

import importlib.util
import os
import re
import shutil
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.settings import Settings
from tests.deploy.proxies import GUIDE, shipped
from tests.service.running import REPOSITORY

pytestmark = pytest.mark.skipif(
    shutil.which("docker-compose") is None and os.environ.get("CI") != "true",
    reason="needs Debian's docker-compose",
)

# Those that run Muster's image.
MUSTERS = ("web1", "web2", "worker", "migrate")


@pytest.fixture(scope="module", name="services")
def _services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The file as Compose understands it, with the guide's own `.env`."""
    folder = tmp_path_factory.mktemp("compose")
    shutil.copytree(REPOSITORY / "deploy", folder / "deploy")
    found = re.search(r"^cat >deploy/\.env <<END\n.*?^END$", GUIDE, re.S | re.M)
    assert found is not None
    subprocess.run(["sh", "-ec", found[0]], cwd=folder, check=True)
    said = subprocess.run(
        ["docker-compose", "--file", "deploy/compose.yaml", "--env-file",
         "deploy/.env", "config"],
        cwd=folder, env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "not set" not in said.stderr
    read: dict[str, Any] = yaml.safe_load(said.stdout)
    services: dict[str, Any] = read["services"]
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
    mounted = [
        volume.split(":")[0]
        for service in services.values()
        for volume in service.get("volumes", [])
        if volume.startswith("/")
    ]
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
