"""GPUs: where the inventory comes from, NVML or a list of the settings.

A machine without a GPU, or without NVIDIA's driver, is a normal state: its
inventory is empty.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import pynvml

from config.container_configs import GPU
from config.docker_answers import Node
from config.docker_client import DockerClient
from config.engine import EngineAwayError
from config.setting_values import ListedGpu
from config.settings import SessionEngine, Settings

_MIB: Final = 1024 * 1024
_NO_DRIVER: Final = (
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
)
# Of the device, or of a library that is older than what is asked.
_NOT_COUNTED: Final = (
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """A GPU that is there.

    Attributes:
        id: what its maker or an operator calls this very one.
        name: what its maker calls all of its kind.
        memory_mb: its memory, MiB.
        healthy: whether sessions may have it.
        node: the machine that it is in; empty where there is only one.
    """

    id: str
    name: str
    memory_mb: int
    healthy: bool = True
    node: str = ""


class GpuSource(Protocol):
    """What knows the GPUs."""

    async def read(self) -> Sequence[GpuDevice]:
        """The GPUs that are there now.

        Raises:
            EngineAwayError: who knows them does not answer; they may all be
                there still.
        """


class ListedGpus:
    """The GPUs of SESSION_GPUS.

    Args:
        listed: what it says.
    """

    def __init__(self, listed: Sequence[ListedGpu]) -> None:
        self._devices = tuple(
            GpuDevice(gpu.id, gpu.name, gpu.memory_mb) for gpu in listed
        )

    async def read(self) -> Sequence[GpuDevice]:
        """The GPUs of the list, which are always there."""
        return self._devices


class NvmlGpus:
    """The GPUs that NVIDIA's management library shows."""

    async def read(self) -> Sequence[GpuDevice]:
        """The GPUs that are there now: none without a driver.

        Raises:
            EngineAwayError: there is a driver, and it does not answer.
        """
        return await asyncio.to_thread(_read_nvml)


class SwarmGpus:
    """The GPUs that the nodes of a swarm say they have, each by its id.

    A node that does not answer still has its GPUs, which nobody may have.

    Args:
        host: where a manager answers.
        listed: what their ids don't tell: name and memory.
    """

    def __init__(self, host: str, listed: Sequence[ListedGpu]) -> None:
        self._host = host
        self._listed = {gpu.id: gpu for gpu in listed}

    async def read(self) -> Sequence[GpuDevice]:
        """The GPUs of all nodes."""
        client = DockerClient(self._host)
        try:
            async with client.asked() as docker:
                answers = await docker.nodes.list()
        finally:
            await client.aclose()
        nodes = [Node.model_validate(answer) for answer in answers]
        return [
            self._device(gpu_id, node)
            for node in nodes
            for gpu_id in node.named(GPU)
        ]

    def _device(self, gpu_id: str, node: Node) -> GpuDevice:
        listed = self._listed.get(gpu_id)
        return GpuDevice(
            id=gpu_id,
            name=listed.name if listed else GPU,
            memory_mb=listed.memory_mb if listed else 0,
            healthy=node.ready and node.spec.availability == "active",
            node=node.description.hostname,
        )


def gpu_source_of(settings: Settings) -> GpuSource:
    """What knows the GPUs that sessions may have."""
    if settings.session_engine is SessionEngine.SWARM:
        return SwarmGpus(settings.docker_host, settings.listed_gpus)
    if settings.listed_gpus:
        return ListedGpus(settings.listed_gpus)
    return NvmlGpus()


def _read_nvml() -> Sequence[GpuDevice]:
    """Asks the library afresh: only then it sees what came and went."""
    devices: list[GpuDevice] = []
    try:
        with _nvml():
            for index in range(pynvml.nvmlDeviceGetCount()):
                devices.extend(_read_device(index))
    except pynvml.NVMLError as error:
        if error.value not in _NO_DRIVER:
            _logger.warning("NVML does not answer: %s", error)
            raise EngineAwayError(f"NVML does not answer: {error}") from error
    return devices


@contextmanager
def _nvml() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _read_device(index: int) -> Iterator[GpuDevice]:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        yield GpuDevice(
            id=pynvml.nvmlDeviceGetUUID(handle),
            name=pynvml.nvmlDeviceGetName(handle),
            memory_mb=pynvml.nvmlDeviceGetMemoryInfo(handle).total // _MIB,
            healthy=not any(_shows(fault, handle) for fault in _FAULTS),
        )
    except pynvml.NVMLError as error:
        # One that fell off the bus can't even say its id: it is not in the
        # inventory any more.
        _logger.warning("GPU %d can't be read: %s", index, error)


def _shows(fault: Callable[[object], bool], handle: object) -> bool:
    """Whether a fault shows; what a device does not count, it can't show."""
    try:
        return fault(handle)
    except pynvml.NVMLError as error:
        if error.value in _NOT_COUNTED:
            return False
        _logger.warning("a GPU's health can't be read: %s", error)
        return True


def _has_lost_bits(handle: object) -> bool:
    """Memory errors that nothing corrected, since the driver was loaded."""
    errors: int = pynvml.nvmlDeviceGetTotalEccErrors(
        handle,
        pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        pynvml.NVML_VOLATILE_ECC,
    )
    return errors > 0


def _retires_pages(handle: object) -> bool:
    """Pages that only a reset takes out of use."""
    pending: int = pynvml.nvmlDeviceGetRetiredPagesPendingStatus(handle)
    return pending != 0


def _remaps_rows(handle: object) -> bool:
    """Rows that only a reset replaces, or that nothing can."""
    _, _, pending, failed = pynvml.nvmlDeviceGetRemappedRows(handle)
    return bool(pending or failed)


_FAULTS: Final = (_has_lost_bits, _retires_pages, _remaps_rows)
