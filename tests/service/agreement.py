"""What an event says of its seats, and what its list says."""

from tests.service.running import Person


def check_agreement(admin: Person, path: str) -> tuple[int, int]:
    """Counters and list say the same; returns seats taken and waiting."""
    event = admin.get(path).json()
    guests = admin.list_all(f"{path}/rsvps")
    going = [guest for guest in guests if guest["status"] == "going"]
    places = [guest["position"] for guest in guests if guest["position"]]
    ids = [guest["user"]["id"] for guest in guests]
    assert len(ids) == len(set(ids))
    assert event["seats_taken"] == len(going) <= event["capacity"]
    assert event["waitlisted"] == len(guests) - len(going)
    assert places == list(range(1, event["waitlisted"] + 1))
    return event["seats_taken"], event["waitlisted"]
