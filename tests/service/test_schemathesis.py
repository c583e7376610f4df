"""schemathesis over /openapi.json: no 500, and nothing undocumented."""

from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app import app
from tests.service.serving import Served, served

# A schema can't say which cursors were handed out, that an event ends after it
# starts, or that a new e-mail needs the current password: those are refused.
EXCLUDED: list[Any] = [positive_data_acceptance]


@schemathesis.serializer("application/x-npy")
def _npy(_context: object, value: object) -> bytes:
    """Whatever it makes up for a file, as the body."""
    data = getattr(value, "data", value)
    return data if isinstance(data, bytes) else str(data).encode()


schema = schemathesis.openapi.from_dict(app.openapi())


@pytest.fixture(name="muster", scope="module")
def _muster() -> Iterator[Served]:
    with served() as muster:
        yield muster


@pytest.fixture(name="session", scope="module")
def _session() -> Iterator[requests.Session]:
    """Connections that last for more than one request, and nothing else does.

    A new one for each took a quarter of the tests' time.
    """
    with requests.Session() as session:
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        yield session


@pytest.fixture(name="admin_headers", scope="module")
def _admin_headers(muster: Served) -> dict[str, str]:
    return muster.admin_headers()


@pytest.mark.service
@schema.parametrize()
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_anonymous(
    case: "Case[Any]", muster: Served, session: requests.Session
) -> None:
    case.call_and_validate(
        base_url=muster.base_url, session=session, excluded_checks=EXCLUDED
    )


# An admin who logs out answers nothing any more.
@pytest.mark.service
@schema.exclude(path_regex="/logout|/logins/").parametrize()
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_admin(
    case: "Case[Any]",
    muster: Served,
    session: requests.Session,
    admin_headers: dict[str, str],
) -> None:
    case.call_and_validate(
        base_url=muster.base_url,
        session=session,
        headers=admin_headers,
        excluded_checks=EXCLUDED,
    )
