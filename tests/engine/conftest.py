"""Fixtures: the engine that was started for these tests, as Muster sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from config.docker_engine import DockerEngine
from tests.engine.engines import docker_host, emptied, place_of_run

if TYPE_CHECKING:
    from tests.engine.houses import House


@pytest_asyncio.fixture(name="engine")
async def _engine() -> AsyncIterator[DockerEngine]:
    """The engine, on which nothing of this process is left in the end."""
    engine = DockerEngine(
        docker_host(),
        place=place_of_run(),
        subnets=IPv4Network("10.213.0.0/16"),
    )
    async with emptied(engine):
        yield engine


@pytest.fixture(scope="module", name="house")
def _house(tmp_path_factory: pytest.TempPathFactory) -> Iterator["House"]:
    """A service of two workers that starts containers."""
    # Late: it reads the settings, which the tests' own conftest makes.
    # pylint: disable-next=import-outside-toplevel
    from tests.engine.houses import opened_house

    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("house")
        yield stack.enter_context(opened_house(folder))
