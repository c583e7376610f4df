"""Calendars as an operator runs them: workers, their children, their log."""

import httpx

from tests import factories
from tests.service.running import MARKS, Person, Service, wait_for

pytestmark = MARKS


def test_import(client: httpx.Client, member: Person) -> None:
    """The program that reads files starts from a worker, too."""
    body = factories.calendar_request(factories.calendar_entry())
    response = client.post(
        "/v1/events/import",
        content=body["content"],
        headers=body["headers"] | member.headers,
    )
    assert response.status_code == 200, response.text
    assert response.json()["created"] == 1


def test_log_does_not_know_whose_calendar_it_is(
    service: Service, client: httpx.Client, member: Person
) -> None:
    opened = member.send("POST", "/v1/users/me/calendar").json()
    assert opened["url"].startswith(f"{service.url}/v1/users/me/calendar.ics?")
    response = client.get(opened["url"])
    assert response.status_code == 200
    assert response.content.startswith(b"BEGIN:VCALENDAR\r\n")
    wait_for(lambda: "GET /v1/users/me/calendar.ics?token=" in service.errors())
    assert "calendar.ics?token=*** " in service.errors()
    assert opened["token"] not in service.output() + service.errors()
