"""The image: the shipped Dockerfile is built, and what it makes is run.

Only its base is another than an operator's: this machine's own Python, with a
pip that takes packages from a folder instead of an index.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.engine.engines import PYTHON, docker, soon
from tests.service.running import MARKS, REPOSITORY, free_port

pytestmark = [pytest.mark.engine, pytest.mark.long, *MARKS]

IMAGE: Final = "muster-test/muster:1"
BASE: Final = "muster-test/base:1"
WHEELS: Final = Path(sys.prefix) / "share/muster-wheels"
_NAME: Final = "muster-image"
# Those that wheels for Linux may take for granted (PEP 600).
_LIBRARIES: Final = (
    *("libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6"),
    *("libpthread.so.0", "librt.so.1", "libstdc++.so.6", "libutil.so.1"),
    *("libexpat.so.1", "libz.so.1"),
)
_BASE: Final = """\
FROM {python}
COPY pip {packages}/pip
COPY libraries /usr/lib
COPY pip.conf /etc/pip.conf
COPY wheels /wheels
"""


async def _build_base(folder: Path) -> None:
    """What a base is that has pip, and packages on the machine."""
    python = await docker(
        "run", "--rm", PYTHON, "python3", "-c",
        "import sysconfig; print(sysconfig.get_path('purelib'))",
    )  # fmt: skip
    packages = Path(sysconfig.get_path("purelib"))
    shutil.copytree(packages / "pip", folder / "pip")
    (folder / "libraries").mkdir()
    for line in subprocess.check_output(
        ["/sbin/ldconfig", "-p"], text=True
    ).splitlines():
        name, _, path = line.strip().partition(" => ")
        if name.split(" ")[0] in _LIBRARIES and "x86-64" in name:
            shutil.copy(path, folder / "libraries" / name.split(" ")[0])
    (folder / "pip.conf").write_text(
        "[global]\nno-index = true\nfind-links = /wheels\n"
    )
    (folder / "wheels").symlink_to(WHEELS)
    text = _BASE.format(python=PYTHON, packages=python.strip())
    (folder / "Dockerfile").write_text(text)
    # The context is sent as an archive, with what the link leads to.
    archive = await asyncio.create_subprocess_exec(
        "tar", "-C", folder, "--dereference", "-cf", f"{folder}.tar", "."
    )
    assert await archive.wait() == 0
    await _build("--tag", BASE, "-", stdin=Path(f"{folder}.tar"))


async def _build(*words: str, stdin: Path | None = None) -> None:
    with (stdin or Path(os.devnull)).open("rb") as context:
        builder = await asyncio.create_subprocess_exec(
            *("docker", "build", *words),
            cwd=REPOSITORY,
            env={**os.environ, "DOCKER_BUILDKIT": "0"},
            stdin=context,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await builder.communicate()
    assert builder.returncode == 0, said.decode()[-4000:]


async def _state() -> dict[str, Any]:
    told = await docker("inspect", "--format", "{{json .State}}", _NAME)
    state: dict[str, Any] = json.loads(told)
    return state


@pytest.mark.skipif(
    not (WHEELS / "requirements.lock").exists()
    and os.environ.get("CI") != "true",
    reason="sh test.sh -m engine fetches the packages",
)
@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11),
    reason="the base is this machine's Python, and the lock is for 3.11",
)
async def test_it_serves_as_nobody_and_ends(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    await _build_base(tmp_path / "base")
    await _build(
        "--file", "deploy/Dockerfile", "--tag", IMAGE,
        "--build-arg", f"BASE_IMAGE={BASE}", ".",
    )  # fmt: skip
    # As Compose runs it; the database is that of the tests' own process.
    port = free_port()
    await docker(
        "run", "--detach", "--name", _NAME, "--init", "--read-only",
        "--tmpfs", "/tmp", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges:true",
        "--volume", "/var/lib/muster",
        "--health-interval", "1s",
        "--env", f"MONGO_DB_URI={os.environ['MUSTER_TEST_DB_URI']}",
        "--env", f"MONGO_DB_NAME={os.environ['MONGO_DB_NAME']}",
        "--env", "WEB_CONCURRENCY=1", "--env", "SESSION_ENGINE=off",
        "--env", "JWT_SECRET_KEY=k9ZqWc7xTn2LmP0-k9ZqWc7xTn2LmP0-x",
        "--network", "host", "--env", f"PORT={port}", IMAGE,
    )  # fmt: skip
    try:
        await soon(_is_healthy)
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.1:{port}/health/ready"
            ready = await client.get(url)
            assert ready.json()["status"] == "ready"
        who = await docker("exec", _NAME, "id")
        assert who.startswith("uid=10001(muster) gid=10001(muster)")
        for writable in ("/opt/muster", "/opt/muster/venv", "/etc"):
            assert await docker(
                "exec", _NAME, "sh", "-c",
                f"test -w {writable} && echo yes || echo no",
            ) == "no\n"  # fmt: skip
        files = await docker("exec", _NAME, "ls", "-A", "/opt/muster")
        assert "tests" not in files and ".git" not in files
        await docker("stop", "--time", "40", _NAME)
        state = await _state()
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
        # As Lambda starts it: the function is there, and has no database.
        told = await docker(
            "run", "--rm", "--env", "ALLOW_EMBEDDED_DB=true",
            "--env", "JWT_SECRET_KEY=k9ZqWc7xTn2LmP0-k9ZqWc7xTn2LmP0-x",
            IMAGE, "python3", "-c",
            "import awslambdaric, mangum, scripts.worker; print('there')",
        )  # fmt: skip
        assert told == "there\n"
    finally:
        await docker("rm", "--force", "--volumes", _NAME)
        await docker("rmi", IMAGE, BASE)


async def _is_healthy() -> bool:
    state = await _state()
    assert state["Running"], await docker("logs", _NAME)
    return bool(state["Health"]["Status"] == "healthy")
