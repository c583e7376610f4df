"""Fixtures: services that run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.service.running import Person, Service

# Asked for by name on the command line, this file is read before the settings
# are made: only the fixtures may import what reads them.
# pylint: disable=import-outside-toplevel


@pytest.fixture(scope="session", name="service")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One `sh run.sh`, as it is, for all tests that leave it as it was."""
    from tests.service.running import RUN, Service

    with Service(tmp_path_factory.mktemp("service"), *RUN) as service:
        yield service


@pytest.fixture(name="client")
def _client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture(name="member")
def _member(client: httpx.Client) -> Person:
    from tests.service.running import Person

    return Person.register(client)
