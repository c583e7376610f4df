"""Engines beside the tests' own: each in a network of its own, to be killed."""

import asyncio
import os
import shutil
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

from tests.engine.engines import docker, soon

# In memory, like all that `with-docker.sh` makes.
_WORK: Final = Path("/run/muster-engine")


class Daemon:
    """An engine.

    Args:
        name: of its network and its machine.
        flags: further options of `dockerd`.
        gpu_driver: whether it believes that it can give GPUs.
    """

    def __init__(
        self, name: str, *flags: str, gpu_driver: bool = True
    ) -> None:
        self.name = name
        self._flags = flags
        self._gpu_driver = gpu_driver
        self._folder = _WORK / name
        self._process: Process | None = None

    @property
    def host(self) -> str:
        """Where it answers."""
        return f"unix://{self._folder}/socket"

    async def start(self) -> None:
        """Starts it, and returns when it answers."""
        path = os.environ["PATH"]
        if self._gpu_driver:
            path += f":{_WORK}/bin"
        words = (
            f"nsenter --net=/run/netns/{self.name} unshare --uts sh -c",
            f"'hostname {self.name}; exec dockerd --host {self.host}",
            f"--data-root {self._folder}/data --exec-root {self._folder}/exec",
            f"--pidfile {self._folder}/pid --storage-driver overlay2",
            f"--cgroup-parent /{os.environ['MUSTER_TEST_GROUP']}",
            f"{' '.join(self._flags)}' >>{self._folder}/log 2>&1",
        )
        self._folder.mkdir(exist_ok=True)
        self._process = await asyncio.create_subprocess_shell(
            "exec " + " ".join(words), env={**os.environ, "PATH": path}
        )
        await soon(self._answers)

    async def kill(self) -> None:
        """Ends it as a power cut does; its files stay."""
        assert self._process
        self._process.kill()
        await self._process.wait()
        (self._folder / "pid").unlink()

    async def load(self, image: str) -> None:
        """Gives it an image of the tests' own engine."""
        file = self._folder / "image.tar"
        await docker("save", "--output", str(file), image)
        await docker("load", "--input", str(file), host=self.host)
        file.unlink()

    async def stop(self) -> None:
        """Ends it, with all that it has."""
        if self._process and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        mounts = f"{self._folder}/data {self._folder}/exec"
        await sh(f"umount -R {mounts}", fine=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _answers(self) -> bool:
        assert self._process
        if self._process.returncode is not None:
            raise AssertionError((self._folder / "log").read_text()[-3000:])
        return await sh(f"docker --host {self.host} version", fine=True)


@asynccontextmanager
async def running(*daemons: Daemon) -> AsyncIterator[str]:
    """Starts engines whose machines are joined by a bridge: 10.99.0.1, …2.

    Yields:
        The name of the network that the bridge is in.
    """
    bridge = f"b{uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        await sh(f"ip netns add {bridge}")
        stack.push_async_callback(sh, f"ip netns delete {bridge}")
        within = f"ip -n {bridge} link"
        await sh(
            f"{within} add bridge type bridge; {within} set bridge up; "
            f"ip -n {bridge} address add 10.99.0.254/24 dev bridge"
        )
        for number, daemon in enumerate(daemons, 1):
            name = daemon.name
            await sh(
                f"ip netns add {name}; ip -n {name} link set lo up; "
                f"ip -n {name} link add wire type veth peer name v{number} "
                f"netns {bridge}; ip -n {name} link set wire up; "
                f"ip -n {name} address add 10.99.0.{number}/24 dev wire; "
                f"{within} set v{number} master bridge; "
                f"{within} set v{number} up"
            )
            stack.push_async_callback(sh, f"ip netns delete {name}")
            stack.push_async_callback(daemon.stop)
            await daemon.start()
        yield bridge


async def sh(command: str, *, fine: bool = False) -> bool:
    """Whether a command of the shell works; it must, unless that is fine."""
    process = await asyncio.create_subprocess_shell(
        f"set -e; {command}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert fine or process.returncode == 0, out.decode()
    return process.returncode == 0
