"""schemathesis over /openapi.json: no 500, and nothing undocumented."""

from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.generation.stateful import APIStateMachine
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app import app
from tests import factories
from tests.fuzzing import examples
from tests.service.serving import Served, served

pytestmark = pytest.mark.service

# A schema can't say which cursors were handed out, that an event ends after it
# starts, or that a new e-mail needs the current password: those are refused.
EXCLUDED: list[Any] = [positive_data_acceptance]

# Who logs out, closes the account or is disabled answers nothing any more.
ENDS = r"/logout|/logins/|/users/me$|/users/\{user_id\}$"


@schemathesis.serializer("application/x-npy")
def _npy(_context: object, value: object) -> bytes:
    """Whatever it makes up for a file, as the body."""
    data = getattr(value, "data", value)
    return data if isinstance(data, bytes) else str(data).encode()


schema = schemathesis.openapi.from_dict(app.openapi())
lasting = schema.exclude(path_regex=ENDS, method=["POST", "PATCH", "DELETE"])


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


@pytest.fixture(name="member_headers", scope="module")
def _member_headers(muster: Served) -> dict[str, str]:
    form = {"username": muster.register(), "password": factories.PASSWORD}
    login = httpx.post(f"{muster.base_url}/v1/auth/login", data=form)
    return {"Authorization": f"Bearer {login.json()['access_token']}"}


# Most of these are a 401 whatever they say: the edges of what the document
# allows are the admin's.
@schema.parametrize()
@settings(examples(3), phases=[Phase.generate])
def test_anonymous(
    case: "Case[Any]", muster: Served, session: requests.Session
) -> None:
    case.call_and_validate(
        base_url=muster.base_url, session=session, excluded_checks=EXCLUDED
    )


# An admin who logs out answers nothing any more.
@schema.exclude(path_regex="/logout|/logins/").parametrize()
@examples(4)
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


def test_events_of_a_task(
    muster: Served, admin_headers: dict[str, str]
) -> None:
    """Few guesses get as far as to a stream of them."""
    task = httpx.post(
        f"{muster.base_url}/v1/processes/histogram",
        json={"array": [1, 2, 3]},
        headers=admin_headers,
    ).json()
    follow = schema["/v1/tasks/{task_id}/events"]["GET"]
    case = follow.Case(path_parameters={"task_id": task["id"]})
    case.call_and_validate(base_url=muster.base_url, headers=admin_headers)


@pytest.mark.parametrize("role", ["admin", "member"])
def test_one_after_the_other(
    muster: Served, request: pytest.FixtureRequest, role: str
) -> None:
    """What one answer says goes into the next request: ids, names, tokens."""
    headers = request.getfixturevalue(f"{role}_headers")

    class Requests(lasting.as_state_machine()):  # type: ignore[misc]
        """A walk from answers to the requests that they make possible."""

        def get_call_kwargs(self, case: "Case[Any]") -> dict[str, Any]:
            """To this service, as this member."""
            del case  # All are sent alike.
            return {"base_url": muster.base_url, "headers": headers}

        def validate_response(
            self,
            response: Any,
            case: "Case[Any]",
            additional_checks: Any = None,
            **kwargs: Any,
        ) -> None:
            """Each answer stands in the document."""
            # Where there is no engine, that is the answer.
            is_engine_off = (
                response.status_code == 503
                and response.json()["type"] == "/problems/engine-unavailable"
            )
            case.validate_response(
                response,
                additional_checks=additional_checks,
                excluded_checks=[*EXCLUDED, not_a_server_error]
                if is_engine_off
                else EXCLUDED,
                transport_kwargs=kwargs,
                recorder=self.recorder,
            )

    machine: type[APIStateMachine] = Requests
    run_state_machine_as_test(machine, settings=examples(10, steps=12))
