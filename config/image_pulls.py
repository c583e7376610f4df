"""Image pulls: one at a time for each image, whoever else waits for it."""

import asyncio
from typing import Final

from aiodocker import DockerError

from config.docker_client import AWAY, DockerClient
from config.engine import EngineFault, EngineRefusedError
from config.engine_faults import shortened

_SECONDS: Final = 3600


class ImagePulls:
    """Pulls images, and goes on when who asked for one waits no longer.

    Args:
        client: asks the engine.
    """

    def __init__(self, client: DockerClient) -> None:
        self._client = client
        self._running: dict[str, asyncio.Task[None]] = {}

    async def pull(self, image: str) -> None:
        """Returns when the image is there.

        Raises:
            EngineRefusedError: it can't be pulled.
        """
        task = self._running.get(image)
        if task is None:
            task = asyncio.create_task(self._pull(image))
            self._running[image] = task
            task.add_done_callback(lambda ended: self._forget(image, ended))
        await asyncio.shield(task)

    async def _pull(self, image: str) -> None:
        async with self._client.asked() as docker:
            try:
                async with asyncio.timeout(_SECONDS):
                    await docker.images.pull(image)
            except DockerError as error:
                if error.status == AWAY:
                    raise
                raise EngineRefusedError(
                    EngineFault.IMAGE_MISSING,
                    f"The image {image} is not here and can't be pulled: "
                    f"{shortened(error.message)}.",
                ) from error

    def _forget(self, image: str, ended: asyncio.Task[None]) -> None:
        del self._running[image]
        if not ended.cancelled():
            ended.exception()  # Nobody may wait for it any more.

    async def aclose(self) -> None:
        """Gives up what is still being pulled."""
        for task in tuple(self._running.values()):
            task.cancel()
            await asyncio.wait([task])
