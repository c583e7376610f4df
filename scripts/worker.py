"""Runs tasks, on this machine or another one; Ctrl-C or SIGTERM ends it.

python -m scripts.worker
"""

import asyncio
import os
import signal
from contextlib import aclosing

from config import chores
from config.broker import broker_of
from config.lifespan import services
from config.logs import configure_logging
from config.main import settings
from scripts.common import run
from utils import tasks
from utils.chores import task_chores
from utils.collections import declared_indexes


def main() -> None:
    """The command."""
    configure_logging(settings)
    run(_work())


async def _work() -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(ending, over.set)
    broker = broker_of(
        settings, find_due=tasks.list_due, wake=tasks.queued, takes=True
    )
    async with (
        services(settings, declared_indexes()),
        aclosing(broker),
        chores.running(task_chores(broker)),
    ):
        print(f"muster: worker {os.getpid()} takes tasks", flush=True)
        await over.wait()
        print("muster: finishing, or handing back, what runs", flush=True)


if __name__ == "__main__":
    main()
