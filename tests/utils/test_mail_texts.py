"""What mails say."""

import re
from datetime import UTC, datetime

import pytest

from models.events import Approval, Event, Location
from models.mails import MailKind
from utils.mail_texts import MailFacts, write

_FACTS = MailFacts(
    first_name="Ada",
    event=Event(
        title="NumPy for beginners",
        starts_at=datetime(2030, 5, 1, 16, 30, tzinfo=UTC),
        ends_at=datetime(2030, 5, 1, 19, 0, tzinfo=UTC),
        location=Location(title="Hackerspace", latitude=48.9, longitude=2.3),
        online_url="https://meet.example.org/numpy",
        capacity=20,
        creator_id="x",
        approval=Approval.APPROVED,
        revision="y",
    ),
    token="1234.abcd",
)
_ABOUT_EVENTS = [kind for kind in MailKind if "event" in kind or "seat" in kind]


@pytest.mark.parametrize("kind", MailKind)
def test_every_kind_has_its_words(kind: MailKind) -> None:
    text = write(kind, _FACTS)
    assert 0 < len(text.subject) < 150
    assert text.body.startswith("Hello Ada,\n\n")
    assert text.body.endswith("\n") and "\n\n\n" not in text.body
    assert "None" not in text.subject + text.body
    words = {write(other, _FACTS).body for other in MailKind}
    assert len(words) == len(MailKind)


@pytest.mark.parametrize("kind", _ABOUT_EVENTS)
def test_events_have_a_name(kind: MailKind) -> None:
    text = write(kind, _FACTS)
    assert "“NumPy for beginners”" in text.subject


@pytest.mark.parametrize("kind", _ABOUT_EVENTS)
def test_events_that_are_gone_had_one(kind: MailKind) -> None:
    more = {"title": "Once"}
    text = write(kind, MailFacts(first_name="Ada", more=more))
    assert "“Once”" in text.subject
    assert "\n\n\n" not in text.body


def test_time_and_place() -> None:
    body = write(MailKind.EVENT_CHANGED, _FACTS).body
    assert "Wed 1 May 2030, 16:30 UTC to Wed 1 May 2030, 19:00 UTC" in body
    assert "    Hackerspace\n    https://meet.example.org/numpy\n" in body


def test_reason_of_a_denial() -> None:
    reason = "Please name the venue.\r\n\r\nSee you,\n" + "soon " * 40
    facts = MailFacts(
        first_name="Ada", event=_FACTS.event, more={"reason": reason}
    )
    body = write(MailKind.EVENT_DENIED, facts).body
    quoted = re.findall(r"^> ?(.*)$", body, re.M)
    assert quoted[:3] == ["Please name the venue.", "", "See you,"]
    assert " ".join(quoted[3:]) == ("soon " * 40).strip()
    assert all(len(line) <= 76 for line in body.splitlines())
    assert ">" not in write(MailKind.EVENT_DENIED, _FACTS).body


def test_names_are_in_one_line() -> None:
    facts = MailFacts(first_name="Ada\r\n\r\nEve\u202e\x00,  hello")
    assert write(MailKind.WELCOME, facts).body.startswith(
        "Hello Ada Eve , hello,\n\n"
    )


def test_tokens() -> None:
    verify = write(MailKind.EMAIL_VERIFICATION, _FACTS).body
    assert 'POST /v1/auth/verify-email\n    {"token": "1234.abcd"}\n' in verify
    assert "48 hours" in verify
    reset = write(MailKind.PASSWORD_RESET, _FACTS).body
    assert "POST /v1/auth/password-reset\n" in reset
    assert '"token": "1234.abcd", "new_password"' in reset
    assert "an hour" in reset
