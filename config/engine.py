"""The engine: what runs containers, as the rest of Muster sees it.

`config/docker_engine.py` and `config/swarm_engine.py` are engines. Each
container belongs to one session of one deployment, and its labels say so: an
engine finds and removes its own deployment's containers only. All that changes
something may be repeated.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class EngineFault(StrEnum):
    """Why an engine refuses a container."""

    IMAGE_MISSING = "image-missing"
    BAD_COMMAND = "bad-command"
    PORT_TAKEN = "port-taken"
    NAME_TAKEN = "name-taken"
    NO_MEMORY = "no-memory"
    NO_GPU_DRIVER = "no-gpu-driver"
    NO_GPU = "no-gpu"
    NO_NETWORK = "no-network"
    REFUSED = "refused"


class EngineAwayError(Exception):
    """The engine does not answer, or none is there; one line says why."""


class EngineSilentError(EngineAwayError):
    """Nothing answers there, or what ends: afterwards another one may."""


class EngineUnfitError(Exception):
    """The engine can't keep sessions apart; one line says why."""


class EngineRefusedError(Exception):
    """The engine refuses a container, of which nothing is left behind.

    Attributes:
        fault: why.
        detail: a sentence that helps whoever asked for it.
    """

    def __init__(self, fault: EngineFault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


@dataclass(frozen=True, slots=True)
class ContainerSpec:  # pylint: disable=too-many-instance-attributes  # Facts.
    """A container as it is to be.

    Attributes:
        session_id: whose it is; it names container and network.
        owner_id: the member, for its labels.
        image: the image, which the engine has or can pull.
        command: what it runs; empty for what the image says.
        environment: its variables.
        port: where it answers, inside.
        published: whether a random port of the engine's address leads there.
        memory_mb: memory, without swap, MiB.
        cpus: processors.
        pids_max: processes and threads.
        disk_mb: what each writable folder holds, MiB.
        gpu_ids: the devices that it sees.
    """

    session_id: str
    owner_id: str
    image: str
    port: int
    memory_mb: int
    cpus: float
    pids_max: int
    disk_mb: int
    published: bool = True
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    gpu_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """A container as it is.

    Attributes:
        session_id: whose it is.
        running: whether its first process lives, or will soon: an orchestrator
            may be placing it.
        exit_code: how that ended; None while it runs.
        out_of_memory: whether it was ended for its memory.
        host: where its port answers, for Muster; None while it does not run.
        port: the port there.
        gpu_ids: the devices that an orchestrator has chosen for it; None for
            those that it was started with.
    """

    session_id: str
    running: bool
    exit_code: int | None = None
    out_of_memory: bool = False
    host: str | None = None
    port: int | None = None
    gpu_ids: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container uses.

    Attributes:
        cpu_seconds: what its processors have worked so far, all together.
        cpu_percent: of one processor, in the last second.
        memory_bytes: without what is only cached.
        pids: processes and threads.
        received_bytes: over its network.
        sent_bytes: over its network.
    """

    cpu_seconds: float
    cpu_percent: float
    memory_bytes: int
    pids: int
    received_bytes: int
    sent_bytes: int


class Engine(Protocol):
    """What runs containers.

    All methods raise EngineAwayError when it does not answer.
    """

    async def check(self) -> None:
        """Returns when sessions can run here.

        Raises:
            EngineUnfitError: limits would not be kept, or the like.
        """

    async def ensure(self, spec: ContainerSpec) -> Container:
        """Starts the container of a session, unless it is there already.

        Raises:
            EngineRefusedError: it can't be; nothing of it is left.
        """

    async def find(self, session_id: str) -> Container | None:
        """The container of a session; None when there is none."""

    async def list_containers(self) -> Sequence[Container]:
        """All containers of this deployment, those that ended included."""

    async def remove(self, session_id: str) -> None:
        """Removes the container and the network of a session, if any."""

    def logs(
        self, session_id: str, *, follow: bool, tail: int
    ) -> AsyncIterator[bytes]:
        """What a container wrote, piece by piece; nothing without one.

        Args:
            session_id: whose it is.
            follow: whether to go on until it ends.
            tail: from so many lines before the end.
        """

    async def usage(self, session_id: str) -> Usage | None:
        """What the container of a session uses; None when it does not run."""

    async def pull(self, image: str) -> None:
        """Has the image ready.

        Raises:
            EngineRefusedError: there is no such image.
        """

    async def aclose(self) -> None:
        """Gives connections back."""
