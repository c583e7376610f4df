"""Ids of tasks in a Redis stream; loaded where TASK_BROKER_URL names one."""

from collections.abc import AsyncGenerator
from typing import Any

from redis.asyncio import Redis
from taskiq import AckableMessage
from taskiq_redis import RedisStreamBroker


class RedisStream(RedisStreamBroker):
    """taskiq's broker, without its search for what nobody acknowledged.

    That takes a lock of all workers and three round trips more for each
    message. Here the database keeps all tasks, and an id that was lost with a
    worker is sent again: so nothing is to be acknowledged.
    """

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """What is brought to this worker, one at a time."""
        async with Redis(connection_pool=self.connection_pool) as redis:
            while True:
                found: Any = await redis.xreadgroup(
                    self.consumer_group_name,
                    self.consumer_name,
                    {self.queue_name: ">"},
                    count=1,
                    block=self.block,
                    noack=True,
                )
                for _, messages in found or ():
                    for _, fields in messages:
                        yield AckableMessage(data=fields[b"data"], ack=_nothing)


async def _nothing() -> None:
    """Acknowledges: Redis keeps no account of it."""
