"""Docker client: asks a Docker Engine; silence is always the same error."""

import asyncio
import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Final

from aiodocker import Docker, DockerError
from aiohttp import ClientError, ClientResponse, ClientTimeout

from config.docker_answers import Sample
from config.engine import EngineAwayError, EngineSilentError, Usage

# aiodocker's own status for an engine that it can't connect to.
AWAY: Final = 900
_TIMES: Final = ClientTimeout(total=60, connect=15, sock_connect=5)
_FOLLOWED: Final = ClientTimeout(total=None, sock_connect=5)
_FRAME_HEAD_BYTES: Final = 8
_SAMPLES_APART_SECONDS: Final = 0.5


class DockerClient:
    """Asks a Docker Engine.

    Args:
        url: where it answers.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._docker: Docker | None = None
        self._lasting: set[Docker] = set()

    @asynccontextmanager
    async def asked(self, *, lasting: bool = False) -> AsyncIterator[Docker]:
        """The client; made at its first use, as it needs a running loop.

        Args:
            lasting: whether the answer may go on for long. It comes over a
                connection of its own: those that all share are few.

        Raises:
            EngineAwayError: the engine does not answer, or says that it can't.
        """
        docker = self._own() if lasting else self._shared()
        try:
            yield docker
        except DockerError as error:
            if error.status == AWAY:
                raise self._away() from error
            raise EngineAwayError(
                f"The engine can't do that now: {error.message}"
            ) from error
        except (TimeoutError, ClientError, OSError) as error:
            raise self._away() from error
        finally:
            if lasting:
                self._lasting.discard(docker)
                await docker.close()

    def _shared(self) -> Docker:
        if self._docker is None:
            self._docker = Docker(self._url, timeout=_TIMES)
        return self._docker

    def _own(self) -> Docker:
        docker = Docker(self._url, timeout=_FOLLOWED)
        self._lasting.add(docker)
        return docker

    def _away(self) -> EngineSilentError:
        return EngineSilentError(
            f"No Docker Engine answers at {self._url}: start it, correct "
            "DOCKER_HOST, or set SESSION_ENGINE=off."
        )

    async def aclose(self) -> None:
        """Closes the connections; the next question makes new ones."""
        docker, self._docker = self._docker, None
        for one in (docker, *self._lasting):
            if one is not None:
                await one.close()


@asynccontextmanager
async def request(
    docker: Docker,
    method: str,
    path: str,
    *,
    params: Mapping[str, str],
    data: bytes | None = None,
    followed: bool = False,
) -> AsyncIterator[ClientResponse]:
    """What the client library has no method for, or none that ends well.

    Its own streams leave their connection to the garbage collector when
    whoever reads them has enough.

    Raises:
        DockerError: the engine refuses it.
    """
    if docker.api_version == "auto":
        await docker.system.info()  # The library agrees on a version now.
    async with docker.session.request(
        method,
        f"{docker.docker_host}/{docker.api_version}/{path}",
        params=params,
        data=data,
        timeout=_FOLLOWED if followed else _TIMES,
    ) as response:
        if response.status >= 400:
            message = json.loads(await response.read())["message"]
            raise DockerError(response.status, message)
        yield response


async def written(
    docker: Docker, path: str, *, follow: bool, tail: int
) -> AsyncGenerator[bytes, None]:
    """What a container or a service wrote: stdout and stderr, as it came."""
    async with request(
        docker,
        "GET",
        f"{path}/logs",
        params={
            "stdout": "1",
            "stderr": "1",
            "follow": str(int(follow)),
            "tail": str(tail),
        },
        followed=True,
    ) as response:
        while True:
            try:
                head = await response.content.readexactly(_FRAME_HEAD_BYTES)
                length = int.from_bytes(head[4:])
                piece = await response.content.readexactly(length)
            except asyncio.IncompleteReadError:
                return
            if piece:
                yield piece


async def sample(docker: Docker, container_id: str) -> Sample:
    """What a container uses now."""
    async with request(
        docker,
        "GET",
        f"containers/{container_id}/stats",
        params={"stream": "0", "one-shot": "1"},
    ) as response:
        return Sample.model_validate_json(await response.read())


async def measured(docker: Docker, container_id: str) -> Usage:
    """What a container uses, and how busy it is for a moment."""
    before = await sample(docker, container_id)
    await asyncio.sleep(_SAMPLES_APART_SECONDS)
    now = await sample(docker, container_id)
    return usage_between(before, now)


def usage_between(before: Sample, now: Sample) -> Usage:
    """What a container uses; how long it took is the engine's to say."""
    lasted = (now.read - before.read).total_seconds()
    worked = max(0.0, now.cpu_seconds - before.cpu_seconds)
    traffic = now.networks.values()
    return Usage(
        cpu_seconds=now.cpu_seconds,
        cpu_percent=100 * worked / lasted if lasted > 0 else 0.0,
        memory_bytes=now.memory_bytes,
        pids=now.pids_stats.current,
        received_bytes=sum(one.rx_bytes for one in traffic),
        sent_bytes=sum(one.tx_bytes for one in traffic),
    )


@asynccontextmanager
async def within(seconds: float, sentence: str) -> AsyncIterator[None]:
    """Bounds what several questions take, all together.

    Raises:
        EngineAwayError: it took longer, with the sentence.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise EngineAwayError(sentence) from None


async def unless(statuses: Sequence[int], deed: Awaitable[object]) -> None:
    """Does it; a refusal of these kinds is as good."""
    try:
        await deed
    except DockerError as error:
        if error.status not in statuses:
            raise
