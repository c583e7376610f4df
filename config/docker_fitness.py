"""Docker fitness: whether an engine keeps the limits that it accepts.

A rootless engine without cgroups of its own, or one on a kernel without them,
takes limits, says nothing, and lets a container have the machine. What an
engine says of itself is read, a container is made and its limits are read back,
and of the first session that starts, what the kernel says of them.
"""

import json
import secrets
import time
from collections.abc import Mapping
from typing import Final

from aiodocker import Docker

from config.container_configs import (
    FITNESS,
    Place,
    container_config,
    limits_of,
)
from config.docker_answers import Image, Info, Inspected
from config.docker_client import request, sample, unless, within
from config.engine import ContainerSpec, EngineUnfitError

# A file of no files, as `tar` writes it: an image of nothing, to be had
# without a network, for a container that is never started.
_EMPTY_TAR: Final = bytes(1024)
_IMAGE: Final = "muster-fitness"
# What an older check has left, it is not at any more: it was killed.
_OLD_SECONDS: Final = 300
_REMOVAL_SECONDS: Final = 10
_STAYS: Final = "The engine does not remove what tried its limits."


async def require_fitness(docker: Docker, place: Place) -> None:
    """Returns when an engine keeps limits.

    Raises:
        EngineUnfitError: it does not.
    """
    info = Info.model_validate(await docker.system.info())
    supported = {
        "memory": info.memory_limit,
        "swap": info.swap_limit,
        "processors": info.cpu_cfs_quota,
        "processes": info.pids_limit,
        "anything": info.cgroup_driver != "none",
    }
    for what, can_be in supported.items():
        if not can_be:
            raise EngineUnfitError(
                f"The engine limits sessions' {what} in name only: run it as "
                "root, or with cgroups of its own, on a kernel that has them."
            )
    await _remove_old(docker, place)
    tag = secrets.token_hex(8)
    async with request(
        docker,
        "POST",
        "images/create",
        params={
            "fromSrc": "-",
            "repo": _IMAGE,
            "tag": tag,
            "changes": f"LABEL {FITNESS}={json.dumps(place.deployment)}",
        },
        data=_EMPTY_TAR,
    ) as response:
        await response.read()
    try:
        await _read_back(docker, place, f"{_IMAGE}:{tag}")
    finally:
        async with within(_REMOVAL_SECONDS, _STAYS):
            await docker.images.delete(f"{_IMAGE}:{tag}", force=True)


async def _remove_old(docker: Docker, place: Place) -> None:
    """Removes what a check has left whose process was killed."""
    filters = {"label": [f"{FITNESS}={place.deployment}"]}
    old = time.time() - _OLD_SECONDS
    for container in await docker.containers.list(all=True, filters=filters):
        if container["Created"] < old:
            await unless((404, 409), container.delete(force=True))
    for image in await docker.images.list(filters=filters):
        if image["Created"] < old:
            await unless(
                (404, 409), docker.images.delete(image["Id"], force=True)
            )


async def _read_back(docker: Docker, place: Place, image: str) -> None:
    spec = ContainerSpec(
        session_id=f"fitness-{secrets.token_hex(8)}",
        owner_id="",
        image=image,
        port=1,
        memory_mb=64,
        cpus=0.5,
        pids_max=32,
        disk_mb=1,
        command=["nothing"],
    )
    config = container_config(place, spec, image=Image(), network="none")
    # No session's: whoever removes what belongs to none leaves it alone.
    labels = {FITNESS: place.deployment}
    container = await docker.containers.create({**config, "Labels": labels})
    try:
        found = Inspected.model_validate(await container.show())
    finally:
        async with within(_REMOVAL_SECONDS, _STAYS):
            await container.delete(force=True)
    require_limits(found, spec)


def require_limits(found: Inspected, spec: ContainerSpec) -> None:
    """Returns when an engine remembers the limits that it was given.

    Raises:
        EngineUnfitError: it forgot one.
    """
    remembered: Mapping[str, int | None] = {
        "Memory": found.host_config.memory,
        "MemorySwap": found.host_config.memory_swap,
        "NanoCpus": found.host_config.nano_cpus,
        "PidsLimit": found.host_config.pids_limit,
    }
    for name, asked in limits_of(spec).items():
        if remembered[name] != asked:
            raise EngineUnfitError(
                f"The engine drops limits: of {name} {asked} it kept "
                f"{remembered[name]}."
            )


async def require_kernel_limits(
    docker: Docker, found: Inspected, spec: ContainerSpec
) -> None:
    """Returns when the kernel holds a running container to its limits.

    Raises:
        EngineUnfitError: it knows nothing of one.
    """
    kept = await sample(docker, found.id)
    if not kept.pids_stats.current:
        return  # It has ended already, which is no fault of the engine's.
    memory, pids = kept.memory_stats.limit, kept.pids_stats.limit
    # None at all is zero there.
    if not 0 < memory <= limits_of(spec)["Memory"] or pids != spec.pids_max:
        raise EngineUnfitError(
            "The engine accepts limits, and the kernel does not keep them: "
            f"{memory} bytes of memory and {pids or 'any number of'} processes "
            "are allowed."
        )
