"""From where: whose word about a client's address is believed."""

from pathlib import Path

import pytest

from tests import factories
from tests.service.running import MARKS, Person, Service, create_admin

pytestmark = MARKS

_EMAIL = "admin@example.org"
_CLIENT = "203.0.113.7"


@pytest.mark.parametrize(
    ("trusted", "address"),
    [
        ({}, "127.0.0.1"),
        ({"TRUSTED_PROXIES": "192.0.2.1"}, "127.0.0.1"),
        ({"TRUSTED_PROXIES": "127.0.0.1"}, _CLIENT),
    ],
)
def test_address(tmp_path: Path, trusted: dict[str, str], address: str) -> None:
    with (
        Service(tmp_path, WEB_CONCURRENCY="1", **trusted) as service,
        service.client() as client,
    ):
        create_admin(service, _EMAIL)
        client.headers["X-Forwarded-For"] = _CLIENT
        admin = Person(client, _EMAIL, factories.PASSWORD)
        (entry,) = admin.list_all("/v1/audit", action="login.created")
        assert entry["actor_id"] == admin.id
        assert entry["address"] == address
