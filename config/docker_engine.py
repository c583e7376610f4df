"""Docker engine: sessions as containers of one Docker Engine.

A session's container and network are named and labelled after it: whoever
starts it again finds what is there. What is not labelled so, nothing here
touches.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from ipaddress import IPv4Network
from typing import Final

from aiodocker import Docker, DockerError

from config.container_configs import (
    PORT,
    SESSION,
    Place,
    container_config,
)
from config.docker_answers import Inspected
from config.docker_client import (
    AWAY,
    DockerClient,
    measured,
    unless,
    within,
    written,
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
    EngineSilentError,
    EngineUnfitError,
    Usage,
)
from config.engine_faults import refusal, refusal_of
from config.engine_images import Images
from config.engine_networks import (
    find_old_networks,
    make_network,
    remove_networks,
)

# Longer than a slow engine takes, shorter than whoever asked for it waits.
_START_SECONDS: Final = 50
_SLOW: Final = "The engine takes too long to start it."
_REMOVAL_SECONDS: Final = 30
_REMOVAL_PAUSE_SECONDS: Final = 0.1
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
        self._images = Images(self._client)
        self._place = place
        self._subnets = subnets
        # What was found out about the engine; another may answer after it
        # was away.
        self._fit = False
        self._proven = False
        self._checking = asyncio.Lock()

    async def check(self) -> None:
        """Returns when sessions can run here; once found out, at once.

        Raises:
            EngineUnfitError: limits would not be kept.
        """
        if self._fit:
            return
        async with self._checking:  # One tries; what it finds, all know.
            if not self._fit:
                async with self._asked() as docker:
                    await require_fitness(docker, self._place)
                self._fit = True

    async def ensure(self, spec: ContainerSpec) -> Container:
        """Starts the container of a session, unless it is there already.

        Raises:
            EngineRefusedError: it can't be; nothing of it is left.
        """
        try:
            async with within(_START_SECONDS, _SLOW):
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
        """All containers of this deployment, those that ended included.

        A network that a start has left behind is like one that ended.
        """
        async with self._asked() as docker:
            listed = await docker.containers.list(
                all=True, filters=self._place.filters()
            )
            found = [await self._inspect(docker, one.id) for one in listed]
            left = await find_old_networks(
                docker, self._place.filters(), seconds=2 * _START_SECONDS
            )
        containers = [self._container_of(one) for one in found if one]
        left -= {container.session_id for container in containers}
        return [*containers, *(Container(one, running=False) for one in left)]

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
        async with self._client.asked(lasting=True) as docker:
            path = f"containers/{found.id}"
            async with aclosing(
                written(docker, path, follow=follow, tail=tail)
            ) as pieces:
                async for piece in pieces:
                    yield piece

    async def usage(self, session_id: str) -> Usage | None:
        """What the container of a session uses; None when it does not run."""
        container = await self.find(session_id)
        if container is None or container.host is None:
            return None
        name = self._place.name(session_id)
        async with self._asked() as docker:
            return await measured(docker, name)

    async def pull(self, image: str) -> None:
        """Has the image ready.

        Raises:
            EngineRefusedError: there is no such image.
        """
        await self._images.pull(image)

    async def aclose(self) -> None:
        """Gives connections back."""
        await self._images.aclose()
        await self._client.aclose()

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[Docker]:
        try:
            async with self._client.asked() as docker:
                yield docker
        except EngineSilentError:
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
            image = await self._images.ready(docker, spec)
            network = await make_network(
                docker, self._place, spec, subnets=self._subnets
            )
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

    async def _remove(self, docker: Docker, session_id: str) -> None:
        filters = self._place.filters(session_id)
        stays = "The engine does not remove what it ran."
        async with within(_REMOVAL_SECONDS, stays):
            while True:
                containers = await docker.containers.list(
                    all=True, filters=filters
                )
                for container in containers:
                    await unless(
                        (404, 409), container.delete(force=True, v=True)
                    )
                networks = await remove_networks(docker, filters)
                if not containers and not networks:
                    return
                await asyncio.sleep(_REMOVAL_PAUSE_SECONDS)

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
