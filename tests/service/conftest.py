"""Fixtures: services that run."""

from collections.abc import Iterator

import httpx
import pytest

from tests.service.running import Person, Service


@pytest.fixture(scope="session", name="service")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One `sh run.sh` for all tests that leave it as it was."""
    with Service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(name="client")
def _client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture(name="member")
def _member(client: httpx.Client) -> Person:
    return Person.register(client)
