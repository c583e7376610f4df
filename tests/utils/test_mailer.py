"""The mailer: racing workers, killed ones, servers that misbehave."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from config import db
from config.mail import FileTransport, SmtpTransport, Transport
from config.main import settings
from models.base import new_id, utc_now
from models.events import Event, EventUpdate
from models.mails import Mail, MailKind, MailState
from tests import factories
from tests.logged import logged
from tests.mailbox import (
    Inbox,
    collect,
    mail_server,
    read,
    text_of,
    token_in,
)
from utils import events, mail_texts, mailer, mails, organising, rsvps

pytestmark = [
    pytest.mark.usefixtures("database"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:aiosmtpd"),
]

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


class _Clock:
    """A clock that goes when a test says so."""

    def __init__(self) -> None:
        # All that a test queues is due.
        self.now = utc_now() + timedelta(minutes=1)

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, time: timedelta) -> None:
        """So much later."""
        self.now += time


@pytest.fixture(name="clock")
def _clock() -> _Clock:
    return _Clock()


@pytest.fixture(name="inbox")
async def _inbox() -> AsyncIterator[Inbox]:
    async with mail_server() as inbox:
        yield inbox


@pytest.fixture(name="transport")
async def _transport(inbox: Inbox) -> AsyncIterator[SmtpTransport]:
    transport = inbox.transport()
    yield transport
    await transport.aclose()


@pytest.fixture(name="log")
def _log() -> Iterator[list[str]]:
    with logged("muster.mail") as lines:
        yield lines


async def _welcome(member: factories.Member | None = None) -> Mail:
    """A mail that waits."""
    member = member or await factories.member()
    mail = Mail(key=new_id(), kind=MailKind.WELCOME, user_id=member.user.id)
    await mails.queue(mail)
    return mail


async def _stored(mail: Mail) -> Mail:
    document = await db.find_by_id(mails.COLLECTION, mail.id)
    assert document is not None
    return Mail.from_document(document)


async def _deliver(transport: Transport, clock: _Clock) -> None:
    await mailer.deliver_due(transport, clock=clock)


async def _change_stored(event: Event, **fields: Any) -> None:
    """Changes an event as no endpoint lets anybody."""
    await db.get_client()[settings.mongo_db_name]["events"].update_one(
        {"_id": event.id}, {"$set": fields}
    )


class TestSending:
    async def test_headers(
        self, inbox: Inbox, transport: SmtpTransport, clock: _Clock
    ) -> None:
        member = await factories.member()
        mail = await _welcome(member)
        await _deliver(transport, clock)
        (message,) = inbox.messages
        assert message["To"] == member.user.email
        assert message["From"] == "Muster <muster@localhost>"
        assert message["Message-ID"] == f"<{mail.id}@localhost>"
        assert message["Auto-Submitted"] == "auto-generated"
        assert message["Date"].datetime == clock.now.replace(microsecond=0)
        assert text_of(message).startswith("Hello Ada,\n\n")
        assert inbox.recipients == [member.user.email]
        sent = await _stored(mail)
        assert (sent.state, sent.due_at) == (MailState.SENT, None)
        assert sent.expires_at == clock.now + 7 * DAY

    async def test_goes_to_the_address_of_that_moment(
        self, tmp_path: Path
    ) -> None:
        member = await factories.member()
        await _welcome(member)
        await db.get_client()[settings.mongo_db_name]["users"].update_one(
            {"_id": member.user.id},
            {"$set": {"email": "new@bücher.example.org"}},
        )
        (message,) = await collect(tmp_path)
        assert message["To"] == "new@xn--bcher-kva.example.org"

    async def test_mailbox_beyond_ascii(self, clock: _Clock) -> None:
        member = await factories.member(email="jürgen@bücher.example.org")
        mail = await _welcome(member)
        async with mail_server(enable_SMTPUTF8=True) as inbox:
            transport = inbox.transport()
            await _deliver(transport, clock)
            await transport.aclose()
        address = "jürgen@xn--bcher-kva.example.org"
        assert inbox.recipients == [address]
        (message,) = inbox.messages
        assert message["To"] == address
        assert (await _stored(mail)).state is MailState.SENT

    async def test_a_key_is_sent_once(self, tmp_path: Path) -> None:
        mail = await _welcome()
        for _ in range(2):
            again = mail.model_copy(
                update={"id": new_id(), "revision": new_id()}
            )
            await mails.queue(again)
            await mails.queue_all([again])
            assert len(await collect(tmp_path)) == 1

    async def test_disabled_member(self, tmp_path: Path) -> None:
        member = await factories.member()
        mail = await _welcome(member)
        await db.get_client()[settings.mongo_db_name]["users"].update_one(
            {"_id": member.user.id}, {"$set": {"disabled": True}}
        )
        assert await collect(tmp_path) == []
        assert (await _stored(mail)).state is MailState.DROPPED

    async def test_member_who_is_gone(self, tmp_path: Path) -> None:
        mail = Mail(key="k", kind=MailKind.WELCOME, user_id=new_id())
        await mails.queue(mail)
        assert await collect(tmp_path) == []
        assert (await _stored(mail)).state is MailState.DROPPED

    async def test_bad_one_holds_nobody_up(
        self,
        tmp_path: Path,
        clock: _Clock,
        log: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        bad, good = await _welcome(), await _welcome()
        write = mail_texts.write

        def write_or_break(
            kind: MailKind, facts: mail_texts.MailFacts
        ) -> mail_texts.MailText:
            if kind is MailKind.WELCOME and facts.first_name == "Breaks":
                raise KeyError("title")
            return write(kind, facts)

        monkeypatch.setattr(mail_texts, "write", write_or_break)
        await db.get_client()[settings.mongo_db_name]["users"].update_one(
            {"_id": bad.user_id}, {"$set": {"first_name": "Breaks"}}
        )
        assert len(await collect(tmp_path, clock=clock)) == 1
        assert (await _stored(good)).state is MailState.SENT
        waits = await _stored(bad)
        assert (waits.state, waits.due_at) == (
            MailState.WAITING,
            clock.now + MINUTE,
        )
        assert len(log) == 1 and "Traceback" in log[0]

    async def test_end_of_the_process_lets_a_mail_finish(
        self, inbox: Inbox, transport: SmtpTransport, clock: _Clock
    ) -> None:
        waiting = [await _welcome() for _ in range(3)]
        gate = asyncio.Event()
        inbox.hold.append(gate)
        task = asyncio.create_task(_deliver(transport, clock))
        await inbox.waiting.wait()
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, gate.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        states = [(await _stored(mail)).state for mail in waiting]
        assert sorted(states) == ["sent", "waiting", "waiting"]
        assert len(inbox.messages) == 1


class TestNeverTwice:
    async def test_racing_workers(self, inbox: Inbox, clock: _Clock) -> None:
        waiting = [await _welcome() for _ in range(40)]
        transports = [inbox.transport() for _ in range(4)]
        await asyncio.gather(
            *(_deliver(transport, clock) for transport in transports)
        )
        came = [message["Message-ID"] for message in inbox.messages]
        assert sorted(came) == sorted(
            f"<{mail.id}@localhost>" for mail in waiting
        )
        for transport in transports:
            await transport.aclose()

    async def test_killed_before_the_text(
        self, inbox: Inbox, transport: SmtpTransport, clock: _Clock
    ) -> None:
        """Somebody claimed it and never came back: it is tried again."""
        mail = await _welcome()
        assert await mails.claim(mail, now=clock.now) is not None
        await _deliver(transport, clock)
        assert inbox.messages == []
        clock.go_on(timedelta(seconds=31))
        await _deliver(transport, clock)
        assert len(inbox.messages) == 1

    async def test_killed_before_the_answer(
        self,
        inbox: Inbox,
        transport: SmtpTransport,
        clock: _Clock,
        log: list[str],
    ) -> None:
        """Nobody can know whether it arrived: it is not tried again."""
        claimed = await mails.claim(await _welcome(), now=clock.now)
        assert claimed is not None
        assert await mails.mark_sending(claimed, now=clock.now) is not None
        for _ in range(3):
            clock.go_on(timedelta(minutes=4))
            await _deliver(transport, clock)
        assert inbox.messages == []
        assert (await _stored(claimed)).state is MailState.UNKNOWN
        assert len(log) == 1 and claimed.id in log[0]

    async def test_connection_lost_before_the_answer(
        self,
        inbox: Inbox,
        transport: SmtpTransport,
        clock: _Clock,
        log: list[str],
    ) -> None:
        mail = await _welcome()
        inbox.at_data.append("drop")
        for _ in range(5):
            await _deliver(transport, clock)
            clock.go_on(DAY)
        assert len(inbox.messages) == 1
        assert (await _stored(mail)).state is MailState.UNKNOWN
        assert len(log) == 1 and mail.id in log[0]

    async def test_slow_worker_comes_too_late(
        self, inbox: Inbox, transport: SmtpTransport, clock: _Clock
    ) -> None:
        """Its claim ran out while the server let it wait."""
        await _welcome()
        gate = asyncio.Event()
        inbox.hold.append(gate)
        slow = inbox.transport()
        task = asyncio.create_task(_deliver(slow, clock))
        await inbox.waiting.wait()
        clock.go_on(timedelta(seconds=31))
        await _deliver(transport, clock)
        assert len(inbox.messages) == 1
        gate.set()
        await task
        assert len(inbox.messages) == 1
        await slow.aclose()

    async def test_killing_mail_is_given_up(
        self, tmp_path: Path, clock: _Clock, log: list[str]
    ) -> None:
        mail = await _welcome()
        for _ in range(6):
            claimed = await mails.claim(await _stored(mail), now=clock.now)
            assert claimed is not None
            clock.go_on(MINUTE)
        assert await collect(tmp_path, clock=clock) == []
        assert (await _stored(mail)).state is MailState.GIVEN_UP
        assert len(log) == 1


class TestBackOff:
    async def test_pauses(
        self,
        inbox: Inbox,
        transport: SmtpTransport,
        clock: _Clock,
        log: list[str],
    ) -> None:
        mail = await _welcome()
        inbox.at_rcpt += ["451 not now"] * 10
        for minutes in (1, 5, 30, 120, 720):
            await _deliver(transport, clock)
            waits = await _stored(mail)
            assert waits.due_at == clock.now + minutes * MINUTE
            clock.go_on(minutes * MINUTE - timedelta(seconds=1))
            await _deliver(transport, clock)
            assert (await _stored(mail)).revision == waits.revision
            clock.go_on(timedelta(seconds=1))
        await _deliver(transport, clock)
        assert (await _stored(mail)).state is MailState.GIVEN_UP
        assert len(inbox.at_rcpt) == 4
        assert len(log) == 6
        assert "451 not now" in log[0] and "given up" in log[5]

    async def test_then_it_arrives(
        self, inbox: Inbox, transport: SmtpTransport, clock: _Clock
    ) -> None:
        await _welcome()
        inbox.at_data.append("451 not now")
        await _deliver(transport, clock)
        assert inbox.messages == []
        clock.go_on(MINUTE)
        await _deliver(transport, clock)
        assert len(inbox.messages) == 1

    async def test_refused_for_good(
        self, inbox: Inbox, transport: SmtpTransport, clock: _Clock
    ) -> None:
        mail = await _welcome()
        inbox.at_rcpt.append("550 no such user")
        for _ in range(3):
            await _deliver(transport, clock)
            clock.go_on(DAY)
        assert inbox.messages == []
        assert (await _stored(mail)).state is MailState.REFUSED

    async def test_server_that_is_away(self, clock: _Clock) -> None:
        mail = await _welcome()
        async with mail_server() as inbox:
            transport = inbox.transport()
        await _deliver(transport, clock)
        assert (await _stored(mail)).due_at == clock.now + MINUTE

    async def test_token_of_a_second_attempt_is_the_same(
        self, inbox: Inbox, transport: SmtpTransport, clock: _Clock
    ) -> None:
        """The first may have been read, whatever the server said of it."""
        member = await factories.member()
        mail = Mail(
            key="k", kind=MailKind.PASSWORD_RESET, email=member.user.email
        )
        await mails.queue(mail)
        inbox.at_data += ["250 OK", "250 OK"]
        await _deliver(transport, clock)
        stored = await _stored(mail)
        again = stored.model_copy(
            update={"due_at": clock.now, "state": MailState.WAITING}
        )
        await db.get_client()[settings.mongo_db_name]["mails"].replace_one(
            {"_id": mail.id}, again.dict()
        )
        await _deliver(transport, clock)
        first, second = map(token_in, inbox.messages)
        assert first == second


async def _come(event: Event, *guests: factories.Member) -> None:
    """Members take the event's seats, or wait for one."""
    for guest in guests:
        await rsvps.join(event.id, actor=guest.actor)


def _to_guests(event: Event) -> Mail:
    """A mail to all guests."""
    return Mail(
        key="changed:1",
        kind=MailKind.EVENT_CHANGED,
        guests_of=event.id,
        event_id=event.id,
    )


class TestGuests:
    async def test_one_mail_each(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        guests = [await factories.member() for _ in range(4)]
        event = await factories.event(capacity=2)
        await _come(event, *guests)
        guest_ids = rsvps.guest_ids
        gone = [new_id() for _ in range(700)]

        async def with_many_who_are_gone(event_id: str) -> list[str]:
            return [*await guest_ids(event_id), *gone]

        monkeypatch.setattr(rsvps, "guest_ids", with_many_who_are_gone)
        mail = _to_guests(event)
        await mails.queue(mail)
        came = await collect(tmp_path)
        # Those who wait for a seat want to know as well.
        assert {message["To"] for message in came} == {
            guest.user.email for guest in guests
        }
        assert (await _stored(mail)).state is MailState.SENT
        found = db.get_client()[settings.mongo_db_name]["mails"]
        assert await found.count_documents({"guests_of": None}) == 704

    async def test_killed_half_way(self, tmp_path: Path, clock: _Clock) -> None:
        """What was made already is not made again."""
        guests = [await factories.member() for _ in range(4)]
        event = await factories.event()
        await _come(event, *guests)
        mail = _to_guests(event)
        for guest in guests[:2]:
            await mails.queue(
                Mail(
                    key=f"{mail.key}:{guest.user.id}",
                    kind=mail.kind,
                    user_id=guest.user.id,
                    event_id=event.id,
                )
            )
        assert len(await collect(tmp_path, clock=clock)) == 2
        await mails.queue(mail)
        assert await mails.claim(mail, now=clock.now) is not None
        clock.go_on(MINUTE)
        assert len(await collect(tmp_path, clock=clock)) == 4

    async def test_who_left_is_told_nothing(self, tmp_path: Path) -> None:
        stays, leaves = await factories.member(), await factories.member()
        event = await factories.event()
        await _come(event, stays, leaves)
        await collect(tmp_path)
        for guest in (stays, leaves):
            await mails.queue(
                Mail(
                    key=guest.user.id,
                    kind=MailKind.SEAT_PROMOTION,
                    user_id=guest.user.id,
                    event_id=event.id,
                )
            )
        await rsvps.leave(event.id, actor=leaves.actor)
        (message,) = await collect(tmp_path)
        assert message["To"] == stays.user.email

    async def test_promotion_from_the_waiting_list(
        self, tmp_path: Path
    ) -> None:
        """As it comes about: one leaves, and the first in line is told."""
        first, second = await factories.member(), await factories.member()
        event = await factories.event(capacity=1)
        await _come(event, first, second)
        assert await collect(tmp_path) == []
        await rsvps.leave(event.id, actor=first.actor)
        (message,) = await collect(tmp_path)
        assert message["To"] == second.user.email
        assert message["Subject"].startswith("You have a seat at ")


class TestOrder:
    async def test_whoever_waits_goes_before_the_many(
        self, inbox: Inbox, transport: SmtpTransport, clock: _Clock
    ) -> None:
        member = await factories.member()
        await mails.queue_all(
            [
                Mail(
                    key=str(n),
                    kind=MailKind.WELCOME,
                    user_id=member.user.id,
                    bulk=True,
                )
                for n in range(60)
            ]
        )
        mail = await _welcome()
        await _deliver(transport, clock)
        assert len(inbox.messages) == 61
        assert inbox.messages[0]["Message-ID"] == f"<{mail.id}@localhost>"


class TestDecisions:
    async def test_of_an_admin(self, tmp_path: Path) -> None:
        organiser, admin = await factories.member(), await factories.admin()
        good = await factories.event(organiser.actor, title="Good")
        bad = await factories.event(organiser.actor, title="Bad")
        await events.approve(good.id, actor=admin.actor)
        await events.deny(bad.id, reason="Where?", actor=admin.actor)
        came = await collect(tmp_path)
        assert {message["To"] for message in came} == {organiser.user.email}
        told = {message["Subject"]: text_of(message) for message in came}
        assert set(told) == {"“Good” is published", "“Bad” is not published"}
        assert "> Where?" in told["“Bad” is not published"]

    async def test_of_an_organiser(self, tmp_path: Path) -> None:
        organiser, guest = await factories.member(), await factories.member()
        event = await factories.event(title="Before")
        await _come(event, guest)
        await _change_stored(event, creator_id=organiser.user.id)
        change = EventUpdate(title="After", online_url="https://example.org")
        await organising.update_event(
            event.id, change, actor=organiser.actor, if_match=()
        )
        (message,) = await collect(
            tmp_path, clock=lambda: utc_now() + timedelta(minutes=6)
        )
        assert message["Subject"] == "“After” has changed"
        assert "https://example.org" in text_of(message)
        await events.cancel(event.id, actor=organiser.actor)
        subjects = {message["Subject"] for message in await collect(tmp_path)}
        assert subjects == {"“After” has changed", "“After” is cancelled"}


def _times(clock: _Clock, offset: timedelta) -> dict[str, Any]:
    """Times of an event that starts so much later."""
    starts_at = clock.now + offset
    return {
        "starts_at": starts_at.isoformat(),
        "ends_at": (starts_at + timedelta(hours=1)).isoformat(),
    }


class TestReminders:
    async def test_once(self, tmp_path: Path, clock: _Clock) -> None:
        guest, waits = await factories.member(), await factories.member()
        event = await factories.event(
            capacity=1, **_times(clock, timedelta(hours=23))
        )
        await _come(event, guest, waits)
        await asyncio.gather(
            *(mailer.queue_reminders(clock=clock) for _ in range(4))
        )
        clock.go_on(MINUTE)
        await mailer.queue_reminders(clock=clock)
        (message,) = await collect(tmp_path, clock=clock)
        assert message["To"] == guest.user.email
        assert event.title in message["Subject"]
        assert f"{event.starts_at:%H:%M} UTC" in text_of(message)

    async def test_of_what_takes_place(
        self, tmp_path: Path, clock: _Clock
    ) -> None:
        member = await factories.member()
        near, far = timedelta(hours=2), timedelta(hours=25)
        made = {
            title: await factories.event(
                member.actor,
                title=title,
                public=False,
                **_times(clock, far if title == "Far" else near),
            )
            for title in ("Private", "Far", "Over", "Waits", "Off", "Left")
        }
        for event in made.values():
            await _come(event, member)
        await rsvps.leave(made["Left"].id, actor=member.actor)
        await _change_stored(made["Over"], starts_at=clock.now - near)
        await _change_stored(made["Waits"], approval="pending")
        await _change_stored(made["Off"], cancelled_at=clock.now)
        await mailer.queue_reminders(clock=clock)
        queued = db.get_client()[settings.mongo_db_name]["mails"]
        assert await queued.count_documents({}) == 1
        (message,) = await collect(tmp_path, clock=clock)
        assert "“Private”" in message["Subject"]

    async def test_moved_event(self, tmp_path: Path, clock: _Clock) -> None:
        """The old time is told nobody any more, the new one once."""
        member = await factories.member()
        event = await factories.event(**_times(clock, timedelta(hours=5)))
        await _come(event, member)
        await mailer.queue_reminders(clock=clock)
        moved = event.starts_at + timedelta(hours=1)
        await _change_stored(event, starts_at=moved)
        await mailer.queue_reminders(clock=clock)
        (message,) = await collect(tmp_path, clock=clock)
        assert f"{moved:%H:%M} UTC" in message["Subject"]

    @pytest.mark.parametrize("kind", list(MailKind)[5:])
    async def test_of_what_is_gone(
        self, tmp_path: Path, kind: MailKind
    ) -> None:
        member = await factories.member()
        await mails.queue(
            Mail(
                key="k",
                kind=kind,
                user_id=member.user.id,
                event_id=factories.UNKNOWN_ID,
                facts={"title": "Once upon a time"},
            )
        )
        came = await collect(tmp_path)
        # What says all that it is about, or is about no event.
        told = kind in (
            MailKind.EVENT_CANCELLED,
            MailKind.EVENT_HANDED_OVER,
            MailKind.SESSION_EXPIRES,
            MailKind.SESSION_OFFERED,
        )
        assert len(came) == told
        for message in came:
            if not kind.startswith("session-"):
                assert "Once upon a time" in message["Subject"]


class TestInjection:
    async def test_title_adds_no_header(
        self, inbox: Inbox, transport: SmtpTransport, clock: _Clock
    ) -> None:
        member = await factories.member()
        event = await factories.event()
        await _come(event, member)
        await _change_stored(
            event,
            title="Party\r\nBcc: eve@example.org\r\n\r\nFree money"
            "\u2028\x00 \u202e",
        )
        await mails.queue(
            Mail(
                key="k",
                kind=MailKind.SEAT_PROMOTION,
                user_id=member.user.id,
                event_id=event.id,
            )
        )
        await _deliver(transport, clock)
        (message,) = inbox.messages
        assert inbox.recipients == [member.user.email]
        assert message["Bcc"] is None
        assert message["Subject"] == (
            "You have a seat at “Party Bcc: eve@example.org Free money”"
        )
        assert "\nFree money" not in text_of(message)


class TestCost:
    async def test_files_wait_for_nobody(self, tmp_path: Path) -> None:
        """Two hundred mails are sent in one go."""
        member = await factories.member()
        await mails.queue_all(
            [
                Mail(key=str(n), kind=MailKind.WELCOME, user_id=member.user.id)
                for n in range(200)
            ]
        )
        transport = FileTransport(tmp_path)
        await mailer.deliver_due(transport)
        assert len(_names(read(tmp_path))) == 200


def _names(messages: list[EmailMessage]) -> set[str]:
    return {message["Message-ID"] for message in messages}
