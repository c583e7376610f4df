"""Docker engine: sessions as containers of one Docker Engine.

A session's container and network are named and labelled after it: whoever
starts it again finds what is there. What is not labelled so, nothing here
touches.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from typing import Final

from aiodocker import Docker, DockerError

from config.container_configs import (
    PORT,
    SESSION,
    Place,
    container_config,
    network_config,
)
from config.docker_answers import Image, Inspected
from config.docker_client import (
    AWAY,
    DockerClient,
    frames,
    request,
    sample,
)
from config.docker_fitness import (
    require_fitness,
    require_kernel_limits,
    require_limits,
)
from config.engine import (
    Container,
    ContainerSpec,
    EngineAwayError,
    EngineFault,
    EngineRefusedError,
    EngineUnfitError,
    Usage,
)
from config.engine_faults import refusal, refusal_of
from config.image_pulls import ImagePulls

# 16 addresses: the network's, the gateway's, the container's, and a rest that
# no smaller prefix leaves.
_PREFIX: Final = 28
_SUBNET_TRIES: Final = 64
# How long a start waits for an image that must be pulled.
_PULL_WAIT_SECONDS: Final = 20
_REMOVAL_TRIES: Final = 100
_REMOVAL_PAUSE_SECONDS: Final = 0.1
_SAMPLES_APART_SECONDS: Final = 0.5
# Until its first process lives, and where it never did, Docker says so.
_NOT_STARTED: Final = "created"
_ALIVE: Final = (_NOT_STARTED, "running", "paused", "restarting")


class DockerEngine:
    """Runs sessions on one Docker Engine.

    Args:
        host: where the engine answers.
        place: whose sessions run there, and where they are published.
        subnets: what their networks are cut from.
    """

    def __init__(
        self, host: str, *, place: Place, subnets: IPv4Network
    ) -> None:
        self._client = DockerClient(host)
        self._pulls = ImagePulls(self._client)
        self._place = place
        self._subnets = subnets
        # What was found out about the engine; another may answer after it
        # was away.
        self._fit = False
        self._proven = False

    async def check(self) -> None:
        """Returns when sessions can run here.

        Raises:
            EngineUnfitError: limits would not be kept.
        """
        async with self._asked() as docker:
            await require_fitness(docker, self._place)
        self._fit = True

    async def ensure(self, spec: ContainerSpec) -> Container:
        """Starts the container of a session, unless it is there already.

        Raises:
            EngineRefusedError: it can't be; nothing of it is left.
        """
        try:
            if not self._fit:
                await self.check()
            async with self._asked() as docker:
                return await self._ensure(docker, spec)
        except EngineUnfitError as error:
            # No session begins there, as if there were no engine.
            self._fit = False
            raise EngineAwayError(str(error)) from error

    async def find(self, session_id: str) -> Container | None:
        """The container of a session; None when there is none."""
        async with self._asked() as docker:
            found = await self._inspect(docker, self._place.name(session_id))
        if found is None or not self._place.owns(found.labels, session_id):
            return None
        return self._container_of(found)

    async def list_containers(self) -> Sequence[Container]:
        """All containers of this deployment, those that ended included."""
        async with self._asked() as docker:
            listed = await docker.containers.list(
                all=True, filters=self._place.filters()
            )
            found = [await self._inspect(docker, one.id) for one in listed]
        return [self._container_of(one) for one in found if one]

    async def remove(self, session_id: str) -> None:
        """Removes the container and the network of a session, if any."""
        async with self._asked() as docker:
            await self._remove(docker, session_id)

    async def logs(
        self, session_id: str, *, follow: bool, tail: int
    ) -> AsyncIterator[bytes]:
        """What a container wrote, piece by piece; nothing without one."""
        async with self._asked() as docker:
            name = self._place.name(session_id)
            found = await self._inspect(docker, name)
            if found is None or not self._place.owns(found.labels, session_id):
                return
            async with request(
                docker,
                "GET",
                f"containers/{found.id}/logs",
                params={
                    "stdout": "1",
                    "stderr": "1",
                    "follow": str(int(follow)),
                    "tail": str(tail),
                },
                followed=True,
            ) as response:
                async for piece in frames(response):
                    yield piece

    async def usage(self, session_id: str) -> Usage | None:
        """What the container of a session uses; None when it does not run."""
        container = await self.find(session_id)
        if container is None or container.host is None:
            return None
        name = self._place.name(session_id)
        async with self._asked() as docker:
            before = await sample(docker, name)
            await asyncio.sleep(_SAMPLES_APART_SECONDS)
            now = await sample(docker, name)
        worked = max(0.0, now.cpu_seconds - before.cpu_seconds)
        traffic = now.networks.values()
        return Usage(
            cpu_seconds=now.cpu_seconds,
            cpu_percent=100 * worked / _SAMPLES_APART_SECONDS,
            memory_bytes=now.memory_bytes,
            pids=now.pids_stats.current,
            received_bytes=sum(one.rx_bytes for one in traffic),
            sent_bytes=sum(one.tx_bytes for one in traffic),
        )

    async def has_image(self, image: str) -> bool:
        """Whether a start need not pull the image."""
        async with self._asked() as docker:
            return await _find_image(docker, image) is not None

    async def pull(self, image: str) -> None:
        """Has the image ready.

        Raises:
            EngineRefusedError: there is no such image.
        """
        if not await self.has_image(image):
            await self._pulls.pull(image)

    async def aclose(self) -> None:
        """Gives connections back."""
        await self._pulls.aclose()
        await self._client.aclose()

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[Docker]:
        try:
            async with self._client.asked() as docker:
                yield docker
        except EngineAwayError:
            self._fit = self._proven = False
            raise

    async def _ensure(self, docker: Docker, spec: ContainerSpec) -> Container:
        try:
            return await self._bring_up(docker, spec)
        except DockerError as error:
            if error.status == AWAY:
                raise
            await self._remove(docker, spec.session_id)
            raise refusal_of(error, spec) from error
        except (EngineRefusedError, EngineUnfitError):
            await self._remove(docker, spec.session_id)
            raise

    async def _bring_up(
        self, docker: Docker, spec: ContainerSpec
    ) -> Container:
        name = self._place.name(spec.session_id)
        found = await self._inspect(docker, name)
        if found is None:
            image = await self._image(docker, spec)
            network = await self._network(docker, spec)
            config = container_config(
                self._place, spec, image=image, network=network
            )
            await docker.containers.create(config, name=name)
            found = await self._inspected(docker, name)
        elif not self._place.owns(found.labels, spec.session_id):
            raise refusal(EngineFault.NAME_TAKEN, spec)
        if found.state.status == _NOT_STARTED:
            require_limits(found, spec)
            await docker.containers.container(found.id).start()
            found = await self._inspected(docker, name)
            if not self._proven:
                await require_kernel_limits(docker, found, spec)
                self._proven = True
        return self._container_of(found)

    async def _image(self, docker: Docker, spec: ContainerSpec) -> Image:
        image = await _find_image(docker, spec.image)
        if image is not None:
            return image
        try:
            async with asyncio.timeout(_PULL_WAIT_SECONDS):
                await self._pulls.pull(spec.image)
        except TimeoutError:
            raise EngineRefusedError(
                EngineFault.IMAGE_MISSING,
                f"The image {spec.image} is still being pulled: try again in "
                "some minutes.",
            ) from None
        image = await _find_image(docker, spec.image)
        if image is None:
            raise refusal(EngineFault.IMAGE_MISSING, spec)
        return image

    async def _network(self, docker: Docker, spec: ContainerSpec) -> str:
        """The network of a session, whose name alone Docker lets be twice."""
        used = []
        for network in await docker.networks.list():
            if self._place.owns(network["Labels"] or {}, spec.session_id):
                return str(network["Id"])
            for pool in network["IPAM"]["Config"] or []:
                if "." in pool.get("Subnet", ""):
                    used.append(IPv4Network(pool["Subnet"], strict=False))
        for _ in range(_SUBNET_TRIES):
            subnet = self._any_subnet()
            if any(subnet.overlaps(other) for other in used):
                continue
            config = network_config(self._place, spec, str(subnet))
            try:
                created = await docker.networks.create(dict(config))
                return str(created.id)
            except DockerError as error:
                # Somebody else took it just now.
                if "overlaps" not in error.message:
                    raise
                used.append(subnet)
        raise refusal(EngineFault.NO_NETWORK, spec)

    def _any_subnet(self) -> IPv4Network:
        """A random one: who starts at the same time seldom takes the same."""
        size = 2 ** (32 - _PREFIX)
        index = random.randrange(self._subnets.num_addresses // size)
        return IPv4Network((self._subnets[index * size], _PREFIX))

    async def _remove(self, docker: Docker, session_id: str) -> None:
        filters = self._place.filters(session_id)
        for _ in range(_REMOVAL_TRIES):
            containers = await docker.containers.list(all=True, filters=filters)
            for container in containers:
                await _unless(
                    (404, 409), container.delete(force=True, v=True)
                )
            networks = await docker.networks.list(filters=filters)
            for network in networks:
                # Another removal may still take its container away.
                await _unless(
                    (403, 404), _remove_network(docker, network["Id"])
                )
            if not containers and not networks:
                return
            await asyncio.sleep(_REMOVAL_PAUSE_SECONDS)
        raise EngineAwayError("The engine does not remove what it ran.")

    async def _inspect(self, docker: Docker, name: str) -> Inspected | None:
        try:
            return await self._inspected(docker, name)
        except DockerError as error:
            if error.status == 404:
                return None
            raise

    async def _inspected(self, docker: Docker, name: str) -> Inspected:
        container = docker.containers.container(name)
        return Inspected.model_validate(await container.show())

    def _container_of(self, found: Inspected) -> Container:
        alive = found.state.status in _ALIVE
        host, port = None, None
        if found.state.status == "running":
            host, port = self._address_of(found)
        return Container(
            session_id=found.labels[SESSION],
            running=alive,
            exit_code=None if alive else found.state.exit_code,
            out_of_memory=found.state.out_of_memory,
            host=host,
            port=port,
        )

    def _address_of(self, found: Inspected) -> tuple[str | None, int | None]:
        inside = found.labels[PORT]
        published = found.network_settings.ports.get(f"{inside}/tcp")
        if published:
            return self._place.address, int(published[0].host_port)
        for endpoint in found.network_settings.networks.values():
            if endpoint.ip_address:
                return endpoint.ip_address, int(inside)
        return None, None  # It ended between two answers.


async def _find_image(docker: Docker, name: str) -> Image | None:
    try:
        return Image.model_validate(await docker.images.inspect(name))
    except DockerError as error:
        if error.status == 404:
            return None
        raise


async def _remove_network(docker: Docker, network_id: str) -> None:
    await (await docker.networks.get(network_id)).delete()


async def _unless(statuses: Sequence[int], deed: Awaitable[object]) -> None:
    """Does it; a refusal of these kinds is as good."""
    try:
        await deed
    except DockerError as error:
        if error.status not in statuses:
            raise
