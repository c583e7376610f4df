"""Engine images: there, or pulled once, whoever else waits for them."""

import asyncio
from typing import Final

from aiodocker import Docker, DockerError

from config.docker_answers import Image
from config.docker_client import AWAY, DockerClient
from config.engine import ContainerSpec, EngineFault, EngineRefusedError
from config.engine_faults import refusal, shortened

_PULL_SECONDS: Final = 3600
# How long a start waits for an image that must be pulled.
_WAIT_SECONDS: Final = 20


class Images:
    """The images of an engine.

    A pull goes on when whoever asked for it waits no longer.

    Args:
        client: asks the engine.
    """

    def __init__(self, client: DockerClient) -> None:
        self._client = client
        self._running: dict[str, asyncio.Task[None]] = {}

    async def ready(self, docker: Docker, spec: ContainerSpec) -> Image:
        """The image of a session that starts, pulled where that is quick.

        Raises:
            EngineRefusedError: there is none, or not yet.
        """
        image = await _find(docker, spec.image)
        if image is not None:
            return image
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self.pull(spec.image)
        except TimeoutError:
            raise EngineRefusedError(
                EngineFault.IMAGE_MISSING,
                f"The image {spec.image} is still being pulled: try again in "
                "some minutes.",
            ) from None
        image = await _find(docker, spec.image)
        if image is None:
            raise refusal(EngineFault.IMAGE_MISSING, spec)
        return image

    async def pull(self, name: str) -> None:
        """Returns when the image is there.

        Raises:
            EngineRefusedError: it can't be pulled.
        """
        task = self._running.get(name)
        if task is None:
            task = asyncio.create_task(self._pull(name))
            self._running[name] = task
            task.add_done_callback(lambda ended: self._forget(name, ended))
        await asyncio.shield(task)

    async def _pull(self, name: str) -> None:
        async with self._client.asked(lasting=True) as docker:
            if await _find(docker, name) is not None:
                return
            try:
                async with asyncio.timeout(_PULL_SECONDS):
                    await docker.images.pull(name)
            except DockerError as error:
                if error.status == AWAY:
                    raise
                raise EngineRefusedError(
                    EngineFault.IMAGE_MISSING,
                    f"The image {name} is not here and can't be pulled: "
                    f"{shortened(error.message)}.",
                ) from error

    def _forget(self, name: str, ended: asyncio.Task[None]) -> None:
        del self._running[name]
        if not ended.cancelled():
            ended.exception()  # Nobody may wait for it any more.

    async def aclose(self) -> None:
        """Gives up what is still being pulled."""
        for task in tuple(self._running.values()):
            task.cancel()
            await asyncio.wait([task])


async def _find(docker: Docker, name: str) -> Image | None:
    try:
        return Image.model_validate(await docker.images.inspect(name))
    except DockerError as error:
        if error.status == 404:
            return None
        raise
