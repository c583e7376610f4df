"""A workshop from the first word to the last, over HTTP and four workers."""

from datetime import timedelta

import httpx

from tests import factories
from tests.factories import PARIS, PASSWORD
from tests.problems import assert_problem
from tests.service.running import (
    MARKS,
    Person,
    Service,
    create_admin,
    servers_of,
)

pytestmark = MARKS

TITLE = "Soldering for beginners"
NEARBY = {"near": "48.86,2.34", "radius_km": 5}


class TestJourney:
    def test_workshop(self, service: Service, client: httpx.Client) -> None:
        admin = _first_admin(service, client)
        ada, eve = Person.register(client), Person.register(client)
        event_id = ada.post_event(title=TITLE, location=PARIS)["id"]
        path = f"/v1/events/{event_id}"
        self._check_it_waits(path, admin=admin, eve=eve)

        approved = admin.send("POST", f"{path}/approve")
        assert approved.status_code == 200
        assert _find(eve) == [event_id]
        assert event_id not in _queue(admin)

        self._move(path, ada, eve)

        cancelled = ada.send("POST", f"{path}/cancel")
        assert cancelled.status_code == 200
        assert eve.get(path).json()["status"] == "cancelled"
        assert _find(eve) == []
        assert _find(eve, status="cancelled") == [event_id]

        self._log_out(service, client, admin, ada, eve)

    def _check_it_waits(self, path: str, *, admin: Person, eve: Person) -> None:
        event_id = path.rpartition("/")[2]
        assert event_id in _queue(admin)
        assert_problem(eve.get("/v1/events/queue"), 403, "forbidden")
        assert_problem(eve.get(path), 404, "event-not-found")
        assert _find(eve) == []
        listed = eve.list_all("/v1/events")
        assert event_id not in {event["id"] for event in listed}
        assert_problem(eve.send("POST", f"{path}/approve"), 403, "forbidden")

    def _move(self, path: str, ada: Person, eve: Person) -> None:
        before = ada.get(path)
        later = {
            "starts_at": factories.at(timedelta(days=2)),
            "ends_at": factories.at(timedelta(days=2, hours=1)),
        }
        seen = before.headers["ETag"]
        refused = eve.send("PATCH", path, later, if_match=seen)
        assert_problem(refused, 403, "forbidden")
        moved = ada.send("PATCH", path, later, if_match=seen)
        assert moved.status_code == 200, moved.text
        assert moved.json()["starts_at"] > before.json()["starts_at"]
        assert eve.get(path).json()["starts_at"] == moved.json()["starts_at"]
        stale = ada.send("PATCH", path, {"capacity": 5}, if_match=seen)
        assert_problem(stale, 412, "precondition-failed")

    def _log_out(
        self, service: Service, client: httpx.Client, *people: Person
    ) -> None:
        for person in people:
            left = person.send("POST", "/v1/auth/logout")
            assert left.status_code == 204
        for worker in service.workers():
            with service.only(worker):
                for person in people:
                    assert_problem(
                        person.get("/v1/users/me"), 401, "not-authenticated"
                    )
        for person in people:
            token = {"refresh_token": person.tokens["refresh_token"]}
            dead = client.post("/v1/auth/refresh", json=token)
            assert_problem(dead, 401, "not-authenticated")


class TestFirstAdmin:
    def test_same_server(self, service: Service) -> None:
        servers = servers_of(service)
        email = factories.registration()["email"]
        assert "created" in create_admin(service, email)
        assert "already" in create_admin(service, email)
        assert servers_of(service) == servers
        assert len(servers) == 1

    def test_member_becomes_admin(
        self, service: Service, member: Person
    ) -> None:
        """The living login counts, and the password stays the member's."""
        assert_problem(member.get("/v1/users"), 403, "forbidden")
        create_admin(service, member.email)
        assert member.get("/v1/users").status_code == 200


def _first_admin(service: Service, client: httpx.Client) -> Person:
    email = factories.registration()["email"]
    create_admin(service, email)
    return Person(client, email, PASSWORD)


def _queue(admin: Person) -> set[str]:
    return {event["id"] for event in admin.list_all("/v1/events/queue")}


def _find(person: Person, **more: str) -> list[str]:
    found = person.list_all(
        "/v1/events", tag="workshop", q="solder", **NEARBY, **more
    )
    return [event["id"] for event in found]
