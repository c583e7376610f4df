"""GPUs are found through NVML, or stand in a list; none is a normal state.

Devices are NVIDIA's own library's to show: where a test needs one, the
library's functions answer as its manual says. Without a driver the real
library answers.
"""

import os
import subprocess
from collections.abc import Callable
from ctypes.util import find_library
from types import SimpleNamespace

import pynvml
import pytest

from config.engine import EngineAwayError
from config.gpus import GpuDevice, ListedGpus, NvmlGpus, gpu_source_of
from config.settings import load_settings

_MIB = 1024 * 1024
Say = Callable[..., None]


def answering(value: object) -> Callable[..., object]:
    """A function of the library that says `value`, or fails with it."""

    def function(*_arguments: object) -> object:
        if isinstance(value, Exception):
            raise value
        return value

    return function


@pytest.fixture(name="say")
def _say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """A library with one sound GPU; called, it says something else."""

    def say(**answers: object) -> None:
        for name, value in answers.items():
            monkeypatch.setattr(pynvml, f"nvml{name}", answering(value))

    unsupported = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    say(
        Init=None,
        Shutdown=None,
        DeviceGetCount=1,
        DeviceGetHandleByIndex="handle",
        DeviceGetUUID="GPU-1",
        DeviceGetName="A100",
        DeviceGetMemoryInfo=SimpleNamespace(total=40_960 * _MIB),
        DeviceGetTotalEccErrors=0,
        DeviceGetRetiredPagesPendingStatus=unsupported,
        DeviceGetRemappedRows=(3, 1, 0, 0),
    )
    return say


@pytest.mark.usefixtures("say")
async def test_a_device() -> None:
    assert await NvmlGpus().read() == [GpuDevice("GPU-1", "A100", 40_960)]


@pytest.mark.parametrize(
    "answer",
    [
        {"DeviceGetTotalEccErrors": 1},
        {"DeviceGetRetiredPagesPendingStatus": 1},
        {"DeviceGetRemappedRows": (0, 0, 1, 0)},
        {"DeviceGetRemappedRows": (0, 0, 0, 1)},
        {
            "DeviceGetTotalEccErrors": pynvml.NVMLError(
                pynvml.NVML_ERROR_GPU_IS_LOST
            )
        },
    ],
)
async def test_a_fault(say: Say, answer: dict[str, object]) -> None:
    """It is there, but sessions may not have it."""
    say(**answer)
    (device,) = await NvmlGpus().read()
    assert not device.healthy


async def test_one_that_counts_nothing(say: Say) -> None:
    """What a device can't tell is no fault."""
    unsupported = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    unknown = pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    say(DeviceGetTotalEccErrors=unsupported, DeviceGetRemappedRows=unknown)
    (device,) = await NvmlGpus().read()
    assert device.healthy


async def test_one_that_is_lost(say: Say) -> None:
    """It is not in the inventory any more, and is again when it is back."""
    lost = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    say(DeviceGetHandleByIndex=lost)
    assert not await NvmlGpus().read()
    say(DeviceGetHandleByIndex="handle")
    assert len(await NvmlGpus().read()) == 1


async def test_a_driver_that_does_not_answer(say: Say) -> None:
    """Its GPUs may all be there: nothing is known, which is not nothing."""
    say(DeviceGetCount=pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT))
    with pytest.raises(EngineAwayError, match="NVML"):
        await NvmlGpus().read()


@pytest.mark.skipif(
    find_library("nvidia-ml") is not None, reason="there is a driver here"
)
async def test_no_driver(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without NVIDIA's driver has no GPU, which is no fault."""
    monkeypatch.delenv("SESSION_GPUS")
    source = gpu_source_of(load_settings())
    assert isinstance(source, NvmlGpus)
    assert not await source.read()
    assert not caplog.records


@pytest.mark.skipif(
    find_library("nvidia-ml") is None, reason="there is no driver here"
)
async def test_what_the_driver_shows() -> None:
    """The same devices that NVIDIA's own command tells."""
    told = subprocess.run(
        [
            "nvidia-smi",
            "--query-gpu=uuid,name,memory.total",
            "--format=csv,noheader,nounits",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = [line.split(", ") for line in told.stdout.splitlines()]
    devices = await NvmlGpus().read()
    assert lines == [[d.id, d.name, str(d.memory_mb)] for d in devices]
    assert all(device.healthy for device in devices)


async def test_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an operator lists is what there is."""
    listed = "GPU-5c1f=A100 40 GB/40960, GPU-77=H100/81559"
    monkeypatch.setitem(os.environ, "SESSION_GPUS", listed)
    source = gpu_source_of(load_settings())
    assert isinstance(source, ListedGpus)
    assert list(await source.read()) == [
        GpuDevice("GPU-5c1f", "A100 40 GB", 40_960),
        GpuDevice("GPU-77", "H100", 81_559),
    ]
