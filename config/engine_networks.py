"""Engine networks: each session has one of its own, with its own addresses.

Docker's own pools hold 31 networks; sessions' are cut from SESSION_SUBNETS.
"""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from typing import Final

from aiodocker import Docker, DockerError

from config.container_configs import SESSION, Place
from config.docker_answers import Network
from config.engine import ContainerSpec, EngineFault
from config.engine_faults import refusal

# 16 addresses: the network's, the gateway's, the container's, and a rest that
# no smaller prefix leaves.
_PREFIX: Final = 28
_TRIES: Final = 64
_GONE_OR_USED: Final = (403, 404, 409)


async def make_network(
    docker: Docker, place: Place, spec: ContainerSpec, *, subnets: IPv4Network
) -> str:
    """The id of a session's network, which is made unless it is there.

    Docker lets two have the same name: the one that is there is found first.
    """
    used = []
    for network in await docker.networks.list():
        if place.owns(network["Labels"] or {}, spec.session_id):
            return str(network["Id"])
        for pool in network["IPAM"]["Config"] or []:
            if "." in pool.get("Subnet", ""):
                used.append(IPv4Network(pool["Subnet"], strict=False))
    for _ in range(_TRIES):
        subnet = _any_of(subnets)
        if any(subnet.overlaps(other) for other in used):
            continue
        config = {
            "Name": place.name(spec.session_id),
            "Driver": "bridge",
            "Labels": dict(place.labels(spec)),
            "IPAM": {"Config": [{"Subnet": str(subnet)}]},
            # Not even two on the same bridge could talk to each other.
            "Options": {"com.docker.network.bridge.enable_icc": "false"},
        }
        try:
            return str((await docker.networks.create(config)).id)
        except DockerError as error:
            # Somebody else took it just now.
            if "overlap" not in error.message.lower():
                raise
            used.append(subnet)
    raise refusal(EngineFault.NO_NETWORK, spec)


async def remove_networks(
    docker: Docker, filters: Mapping[str, Sequence[str]]
) -> bool:
    """Removes a session's networks; whether there were any.

    One stays while a container is still leaving it.
    """
    networks = await docker.networks.list(filters=filters)
    for network in networks:
        try:
            await (await docker.networks.get(network["Id"])).delete()
        except DockerError as error:
            if error.status not in _GONE_OR_USED:
                raise
    return bool(networks)


async def find_old_networks(
    docker: Docker, filters: Mapping[str, Sequence[str]], *, seconds: float
) -> set[str]:
    """The sessions whose network is at least so old.

    One that is younger may belong to a container that is being made.
    """
    answers = await docker.networks.list(filters=filters)
    networks = [Network.model_validate(answer) for answer in answers]
    old = datetime.now(UTC) - timedelta(seconds=seconds)
    return {
        (network.labels or {})[SESSION]
        for network in networks
        if network.created < old
    }


def _any_of(subnets: IPv4Network) -> IPv4Network:
    """A random one: who starts at the same time seldom takes the same."""
    size = 2 ** (32 - _PREFIX)
    index = random.randrange(subnets.num_addresses // size)
    return IPv4Network((subnets[index * size], _PREFIX))
