"""Engine faults: what an engine's refusal means, in a sentence that helps."""

from typing import Final

from aiodocker import DockerError

from config.engine import (
    ContainerSpec,
    EngineAwayError,
    EngineFault,
    EngineRefusedError,
    EngineSilentError,
)

# Docker has no codes for these, only sentences; parts that all its releases
# since 20.10 share, in lower case. The first that fits counts.
_SIGNS: Final = (
    (EngineFault.NO_GPU_DRIVER, ("could not select device driver",)),
    (
        EngineFault.NO_GPU,
        ("unknown device", "device error", "insufficient resources on"),
    ),
    (EngineFault.IMAGE_MISSING, ("no such image",)),
    (EngineFault.NAME_TAKEN, ("is already in use by container",)),
    (
        EngineFault.PORT_TAKEN,
        (
            "port is already allocated",
            "address already in use",
            "cannot assign requested address",
            "all ports are allocated",
        ),
    ),
    (
        EngineFault.NO_MEMORY,
        (
            "cannot allocate memory",
            "minimum memory limit",
            "oom-killed",
            "out of memory",
        ),
    ),
    (
        EngineFault.BAD_COMMAND,
        (
            "executable file not found",
            "no command specified",
            "exec format error",
            "permission denied: unknown",
            "no such file or directory: unknown",
            "is a directory: unknown",
            "unable to find user",
        ),
    ),
    (
        EngineFault.NO_NETWORK,
        (
            "overlap",
            "failed to set up container networking",
            "no available network",
        ),
    ),
)
# What an engine says that is about to end, or that has lost its own helper.
_LEAVING: Final = ("shutting down", "context canceled", "transport is closing")

_SENTENCES: Final = {
    EngineFault.NO_GPU_DRIVER: (
        "The engine has no driver for GPUs: NVIDIA's container toolkit must be "
        "installed beside it."
    ),
    EngineFault.NO_GPU: (
        "The engine does not know the GPUs {gpus}: they may have left it."
    ),
    EngineFault.IMAGE_MISSING: "There is no image {image}, here or to pull.",
    EngineFault.NAME_TAKEN: (
        "Something that is not Muster's has the name of this session's "
        "container."
    ),
    EngineFault.PORT_TAKEN: (
        "No port of SESSION_ADDRESS can be published: it must be an address "
        "of the engine's machine that has free ports."
    ),
    EngineFault.NO_MEMORY: (
        "{memory} MiB are not enough to start {image}, or the machine has no "
        "memory left."
    ),
    EngineFault.BAD_COMMAND: (
        "What the template runs can't be run in {image}: {message}."
    ),
    EngineFault.NO_NETWORK: (
        "No network is left for this session: SESSION_SUBNETS is used up, or "
        "something else uses it."
    ),
    EngineFault.REFUSED: "The engine refuses it: {message}.",
}
_MESSAGE_LENGTH: Final = 300


def refusal_of(
    error: DockerError, spec: ContainerSpec
) -> EngineRefusedError | EngineAwayError:
    """What an engine's answer to a container means."""
    text = error.message.lower()
    if any(sign in text for sign in _LEAVING):
        return EngineSilentError(f"The engine ends: {error.message}")
    for fault, signs in _SIGNS:
        if any(sign in text for sign in signs):
            return refusal(fault, spec, error.message)
    return refusal(EngineFault.REFUSED, spec, error.message)


def is_known(error: EngineRefusedError | EngineAwayError) -> bool:
    """Whether a refusal's reason is one that a repetition meets again."""
    if isinstance(error, EngineAwayError):
        return False
    return error.fault is not EngineFault.REFUSED


def refusal(
    fault: EngineFault, spec: ContainerSpec, message: str = ""
) -> EngineRefusedError:
    """A refusal with its sentence."""
    sentence = _SENTENCES[fault].format(
        image=spec.image,
        gpus=", ".join(spec.gpu_ids),
        memory=spec.memory_mb,
        message=shortened(message),
    )
    return EngineRefusedError(fault, sentence)


def shortened(message: str) -> str:
    """The first words of what an engine says, for a sentence of ours."""
    return " ".join(message.split())[:_MESSAGE_LENGTH].rstrip(". ")
