"""The broker: what carries the ids of tasks to those who run them.

The database keeps all tasks, so a broker may lose an id or bring it twice.
TASK_BROKER_URL names one of taskiq's brokers; without it, workers look into
the database themselves, and taskiq is not even loaded (12 MB a process).
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from config.chores import end_if_cancelled
from config.settings import Settings

if TYPE_CHECKING:
    from taskiq import AsyncBroker

# Workers that nobody wakes look so often for what is due.
_LOOK_SECONDS: Final = 0.25
# Long enough that it never cuts a queue that people wait for; what is cut is
# sent again.
_MOST_ENTRIES: Final = 1_000_000
# Longer, nobody waits for a broker: what it was to carry is in the database.
_PATIENCE_SECONDS: Final = 5.0
_LOG: Final = logging.getLogger("muster.broker")


@dataclass(frozen=True, slots=True)
class Delivery:
    """The id of a task, as it was brought.

    Attributes:
        task_id: the id.
        acknowledge: tells the broker that it need not bring it again.
    """

    task_id: str
    acknowledge: Callable[[], Awaitable[None]]


class Broker(Protocol):
    """What carries ids."""

    async def send(self, task_id: str) -> bool:
        """Carries an id to a worker; False when the broker is away."""

    def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """What is brought to this worker, for ever; one at a time."""

    async def aclose(self) -> None:
        """Gives connections back."""


class PolledDatabase:
    """Finds what is due in the database, where all tasks are anyway.

    An id stays due until its task is claimed, by one of several who are
    brought it. So there is nothing to acknowledge, and nothing to lose.

    Args:
        find_due: the ids of some tasks that are due.
        wake: is set when this process has queued one.
    """

    def __init__(
        self,
        find_due: Callable[[], Awaitable[Sequence[str]]],
        wake: asyncio.Event,
    ) -> None:
        self._find_due = find_due
        self._wake = wake

    async def send(self, _task_id: str) -> bool:
        """Nothing is to be carried."""
        return True

    async def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """The ids of what is due."""
        while True:
            # Before looking: what is queued meanwhile is not forgotten.
            self._wake.clear()
            found = await self._find_due()
            end_if_cancelled()
            for task_id in found:
                yield Delivery(task_id, _nothing)
            if not found:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._wake.wait()

    async def aclose(self) -> None:
        """The database's client is not ours."""


class TaskiqBroker:
    """One of taskiq's brokers; it is connected when it is first used.

    Args:
        make: the broker, not started.
        takes: whether this process runs tasks.
    """

    def __init__(
        self, make: Callable[[], "AsyncBroker"], *, takes: bool
    ) -> None:
        self._make = make
        self._takes = takes
        self._broker: AsyncBroker | None = None
        self._starting = asyncio.Lock()

    async def send(self, task_id: str) -> bool:
        """Carries an id, unless the broker is away."""
        # pylint: disable-next=import-outside-toplevel  # see the module
        from taskiq import BrokerMessage

        message = BrokerMessage(
            task_id=task_id,
            task_name="task",
            message=task_id.encode(),
            labels={},
        )
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await (await self._started()).kick(message)
        # Each library has errors of its own; the task is not lost by any.
        except Exception as error:  # pylint: disable=broad-exception-caught
            _LOG.warning("the broker takes nothing: %r", error)
            # Some libraries wait for ever on what they had connected.
            await self.aclose()
            return False
        return True

    async def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """What the broker brings."""
        # pylint: disable-next=import-outside-toplevel  # see the module
        from taskiq import AckableMessage

        broker = await self._started()
        async for message in broker.listen():
            if isinstance(message, AckableMessage):
                done = partial(_acknowledge, message.ack)
                yield Delivery(message.data.decode(), done)
            else:
                yield Delivery(message.decode(), _nothing)
        raise ConnectionError("the broker brings nothing any more")

    async def aclose(self) -> None:
        """Gives the connections back."""
        broker, self._broker = self._broker, None
        if broker is not None:
            await _shut_down(broker)

    async def _started(self) -> "AsyncBroker":
        async with self._starting:
            if self._broker is None:
                broker = self._make()
                broker.is_worker_process = self._takes
                try:
                    await broker.startup()
                except BaseException:
                    # Some of its connections may be open.
                    await _shut_down(broker)
                    raise
                self._broker = broker
            return self._broker


def broker_of(
    settings: Settings,
    *,
    find_due: Callable[[], Awaitable[Sequence[str]]],
    wake: asyncio.Event,
    takes: bool,
) -> Broker:
    """The broker that the settings name.

    Args:
        settings: whose TASK_BROKER_URL.
        find_due: the ids of some tasks that are due.
        wake: is set when this process has queued one.
        takes: whether this process runs tasks.
    """
    if settings.task_broker_url is None:
        return PolledDatabase(find_due, wake)
    url = settings.task_broker_url.get_secret_value()
    kinds = {"redis": _redis, "rediss": _redis}
    kinds |= {"amqp": _rabbitmq, "amqps": _rabbitmq}
    make = kinds.get(urlsplit(url).scheme, _nats)
    # Services with databases of their own may share a broker.
    name = f"{settings.mongo_db_name}-tasks"
    return TaskiqBroker(lambda: make(url, name), takes=takes)


# Each library is loaded where it is used only.
# pylint: disable=import-outside-toplevel


def _redis(url: str, name: str) -> "AsyncBroker":
    from config.redis_stream import RedisStream

    return RedisStream(
        url,
        queue_name=name,
        consumer_group_name=name,
        # All that was sent, also before the first worker came.
        consumer_id="0",
        maxlen=_MOST_ENTRIES,
    )


def _rabbitmq(url: str, name: str) -> "AsyncBroker":
    from aio_pika import Connection
    from taskiq_aio_pika import AioPikaBroker, Exchange, Queue, QueueType

    return AioPikaBroker(
        url,
        qos=1,
        # Its "robust" connections come back by themselves, or wait for ever;
        # they swallow cancellation, so that a process never ended. A plain one
        # breaks, and we make a new one.
        connection_class=Connection,
        timeout=_PATIENCE_SECONDS,
        exchange=Exchange(name=name),
        # Copies over several servers are not needed: the database has all. And
        # a quorum queue that was killed young does not come back.
        task_queues=[Queue(name=name, type=QueueType.CLASSIC)],
        dead_letter_queue=Queue(name=f"{name}.dead", type=QueueType.CLASSIC),
    )


def _nats(url: str, name: str) -> "AsyncBroker":
    from nats.js.api import RetentionPolicy, StreamConfig
    from taskiq_nats import PullBasedJetStreamBroker

    return PullBasedJetStreamBroker(
        url,
        subject=name,
        stream_name=name,
        durable=name,
        # What is acknowledged needs no place any more.
        stream_config=StreamConfig(retention=RetentionPolicy.WORK_QUEUE),
        pull_consume_timeout=_PATIENCE_SECONDS,
    )


async def _shut_down(broker: "AsyncBroker") -> None:
    with suppress(Exception):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await broker.shutdown()


async def _acknowledge(tell: Callable[[], Awaitable[None] | None]) -> None:
    told = tell()
    if told is not None:
        await told


async def _nothing() -> None:
    """Acknowledges: the claim has done so."""
