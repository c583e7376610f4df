"""Swarm engine: sessions as services of Docker's own orchestrator.

A session is a service of one replica. The swarm places it where GPUs are free,
starts it again when it fails, and moves it when its node is lost: where it is,
and which GPUs it has, is asked each time. Sessions of a node share its bridge,
on which no container reaches another (`--icc=false`): on Docker 20.10 a service
can't have both a network of its own and a GPU.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

from aiodocker import Docker, DockerError

from config.container_configs import (
    GPU,
    PORT,
    SESSION,
    Place,
    service_config,
)
from config.docker_answers import Node, Service, SwarmMember, Task
from config.docker_client import (
    AWAY,
    DockerClient,
    measured,
    unless,
    within,
    written,
)
from config.docker_fitness import require_fitness
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
from config.engine_faults import is_known, refusal, refusal_of
from config.engine_images import Images

_PAUSE_SECONDS: Final = 0.1
_REMOVAL_SECONDS: Final = 30
# A start waits so long to be placed: GPUs that were just given back may not
# be free yet. A node that prepares the container takes longer, and may.
_PLACING_SECONDS: Final = 15
_ICC: Final = "com.docker.network.bridge.enable_icc"
_OVER: Final = ("complete", "failed", "shutdown", "rejected", "orphaned")


class SwarmEngine:
    """Runs sessions on a swarm.

    Args:
        host: where a manager answers.
        place: whose sessions run there.
    """

    def __init__(self, host: str, *, place: Place) -> None:
        self._client = DockerClient(host)
        self._images = Images(self._client)
        self._place = place
        self._fit = False
        self._checking = asyncio.Lock()

    async def check(self) -> None:
        """Returns when sessions can run here, as far as a manager can tell.

        Raises:
            EngineUnfitError: limits would not be kept, or it manages none.
        """
        if self._fit:
            return
        async with self._checking:  # One tries; what it finds, all know.
            if not self._fit:
                await self._check()
                self._fit = True

    async def _check(self) -> None:
        async with self._asked() as docker:
            if not (await _member(docker)).swarm.control_available:
                raise EngineUnfitError(
                    "The engine at DOCKER_HOST manages no swarm: `docker swarm "
                    "init` makes one, or set SESSION_ENGINE=docker."
                )
            bridge = await (await docker.networks.get("bridge")).show()
            if bridge["Options"].get(_ICC) != "false":
                raise EngineUnfitError(
                    "Sessions of this swarm could reach each other: all its "
                    "engines must be started with --icc=false."
                )
            await require_fitness(docker, self._place)

    async def ensure(self, spec: ContainerSpec) -> Container:
        """Has the swarm run a session, unless it does already.

        Raises:
            EngineRefusedError: it can't; nothing of it is left.
        """
        try:
            await self.check()
        except EngineUnfitError as error:
            raise EngineAwayError(str(error)) from error
        async with self._asked() as docker:
            try:
                await self._create(docker, spec)
                return await self._placed(docker, spec)
            except DockerError as error:
                if error.status == AWAY:
                    raise
                await self._remove(docker, spec.session_id)
                raise refusal_of(error, spec) from error
            except EngineRefusedError:
                await self._remove(docker, spec.session_id)
                raise

    async def find(self, session_id: str) -> Container | None:
        """The container of a session; None when there is none."""
        async with self._asked() as docker:
            found = await self._containers(docker, session_id)
        return found[0] if found else None

    async def list_containers(self) -> Sequence[Container]:
        """All containers of this deployment, those that ended included."""
        async with self._asked() as docker:
            return await self._containers(docker)

    async def remove(self, session_id: str) -> None:
        """Removes the service of a session, if any."""
        async with self._asked() as docker:
            await self._remove(docker, session_id)

    async def logs(
        self, session_id: str, *, follow: bool, tail: int
    ) -> AsyncIterator[bytes]:
        """What a container wrote; followed, it goes on until nobody reads."""
        async with self._asked() as docker:
            services = await self._services(docker, session_id)
        async with self._client.asked(lasting=True) as docker:
            for service in services:
                path = f"services/{service.id}"
                async with aclosing(
                    written(docker, path, follow=follow, tail=tail)
                ) as pieces:
                    async for piece in pieces:
                        yield piece

    async def usage(self, session_id: str) -> Usage | None:
        """What a session on the manager's own machine uses.

        A manager can't ask other nodes: of a session there, nothing is known.
        """
        async with self._asked() as docker:
            here = (await _member(docker)).swarm.node_id
            tasks = await self._tasks(docker, session_id)
            for task in tasks.values():
                container_id = task.status.container_status.container_id
                if task.node_id == here and task.status.state == "running":
                    return await measured(docker, container_id)
        return None

    async def pull(self, image: str) -> None:
        """Has the image ready on the manager.

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
            self._fit = False  # Another manager may answer afterwards.
            raise

    async def _create(self, docker: Docker, spec: ContainerSpec) -> None:
        name = self._place.name(spec.session_id)
        try:
            answer = await docker.services.inspect(name)
        except DockerError as error:
            if error.status != 404:
                raise
        else:
            labels = Service.model_validate(answer).labels
            if not self._place.owns(labels, spec.session_id):
                raise refusal(EngineFault.NAME_TAKEN, spec)
            return
        image = await self._images.ready(docker, spec)
        labels = self._place.labels(spec)
        await docker.services.create(
            service_config(spec, image=image, labels=labels),
            name=name,
            labels=labels,
            mode={"Replicated": {"Replicas": 1}},
            endpoint_spec={
                "Mode": "dnsrr",
                "Ports": [
                    {
                        "Protocol": "tcp",
                        "TargetPort": spec.port,
                        "PublishMode": "host",
                    }
                ],
            },
        )

    async def _placed(self, docker: Docker, spec: ContainerSpec) -> Container:
        """The container once it runs, or once a node prepares it.

        A try that failed before it ran is a refusal when what it says means
        one. Else the swarm begins another: Docker 20.10 takes back whatever
        has a GPU when something about its node changes.
        """
        why = ""
        now = asyncio.get_running_loop().time
        deadline = now() + _PLACING_SECONDS
        while now() < deadline:
            tasks = await self._tasks(docker, spec.session_id)
            for status in (task.status for task in tasks.values()):
                ran = status.state == "running" or status.message == "started"
                if ran or status.state == "complete":
                    found = await self._containers(docker, spec.session_id)
                    if found:  # Or somebody has removed it by now.
                        return found[0]
                why = status.err
                refused = refusal_of(DockerError(500, why), spec)
                if status.state in _OVER and is_known(refused):
                    raise refused
            await asyncio.sleep(_PAUSE_SECONDS)
        if "insufficient resources" in why:
            raise EngineRefusedError(
                EngineFault.NO_GPU,
                "No machine of the swarm has that many GPUs and that much "
                "memory free.",
            )
        if why:
            raise refusal_of(DockerError(500, why), spec)
        return Container(spec.session_id, running=True)

    async def _remove(self, docker: Docker, session_id: str) -> None:
        """Returns when no node that answers runs anything of a session."""
        stays = "The swarm does not end what it ran."
        async with within(_REMOVAL_SECONDS, stays):
            while True:
                services = await self._services(docker, session_id)
                for service in services:
                    await unless((404,), docker.services.delete(service.id))
                runs = await self._runs(docker, session_id)
                if not services and not runs:
                    return
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _runs(self, docker: Docker, session_id: str) -> bool:
        """Whether a task is left; a node that is lost keeps its own."""
        nodes = await _nodes(docker)
        tasks = await docker.tasks.list(filters=self._filters(session_id))
        return any(
            task.status.state not in _OVER
            and (node := nodes.get(task.node_id)) is not None
            and node.ready
            for task in map(Task.model_validate, tasks)
        )

    async def _services(
        self, docker: Docker, session_id: str | None = None
    ) -> list[Service]:
        answers = await docker.services.list(filters=self._filters(session_id))
        return [Service.model_validate(answer) for answer in answers]

    async def _tasks(
        self, docker: Docker, session_id: str | None = None
    ) -> Mapping[str, Task]:
        """The last try to run each service."""
        answers = await docker.tasks.list(filters=self._filters(session_id))
        tasks = [Task.model_validate(answer) for answer in answers]
        tasks.sort(key=lambda task: task.created_at)
        return {task.service_id: task for task in tasks}

    def _filters(self, session_id: str | None) -> Mapping[str, list[str]]:
        return self._place.filters(session_id)

    async def _containers(
        self, docker: Docker, session_id: str | None = None
    ) -> list[Container]:
        services = await self._services(docker, session_id)
        if not services:
            return []
        tasks = await self._tasks(docker, session_id)
        nodes = await _nodes(docker)
        return [
            _container_of(service, tasks.get(service.id), nodes)
            for service in services
        ]


def _container_of(
    service: Service, task: Task | None, nodes: Mapping[str, Node]
) -> Container:
    session_id = service.labels[SESSION]
    if task is None or task.status.state not in ("running", *_OVER):
        return Container(session_id, running=True)
    status = task.status
    if status.state in _OVER:
        code = status.container_status.exit_code
        return Container(session_id, running=False, exit_code=code)
    inside = int(service.labels[PORT])
    published = [
        port.published_port
        for port in status.port_status.ports
        if port.target_port == inside
    ]
    node = nodes.get(task.node_id)
    known = bool(published) and node is not None
    return Container(
        session_id,
        running=True,
        host=node.address if node and known else None,
        port=published[0] if known else None,
        gpu_ids=tuple(task.named(GPU)),
    )


async def _member(docker: Docker) -> SwarmMember:
    return SwarmMember.model_validate(await docker.system.info())


async def _nodes(docker: Docker) -> Mapping[str, Node]:
    nodes = [Node.model_validate(one) for one in await docker.nodes.list()]
    return {node.id: node for node in nodes}
