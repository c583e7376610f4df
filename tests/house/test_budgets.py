"""Each endpoint has a budget of round trips to the database.

A listener counts the commands of real requests. What a lookup by a key costs
the database stays small as well: the planner answers it by an index.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import pytest

from config import cache, db
from config.main import settings
from config.remote_keys import RemoteKeys
from models.api_keys import ApiKeyCreate
from models.event_compute import RehearsalStart
from models.events import EventUpdate
from models.feedback import FeedbackCreate
from models.one_time_tokens import Purpose
from models.tasks import TaskStatus
from models.users import Role, UserUpdate
from tests import factories, firebase
from tests.commands import asked_for, counted
from tests.contract import Operation, operations
from tests.house.shard_keys import HOT, SCATTERED, strays
from tests.query_shapes import Shape
from utils import (
    api_keys,
    calendars,
    event_compute,
    events,
    feedback,
    process_registry,
    rsvps,
    users,
)

# The most commands of a request that succeeds, as the operation's costliest
# body asks for it. Where a caller signs in, the first reads their login; where
# none is asked for, credentials that come along would cost that one as well.
BUDGETS: dict[Operation, int] = {
    ("GET", "/"): 0,
    ("GET", "/health/live"): 0,
    ("GET", "/health/ready"): 1,
    ("GET", "/metrics"): 0,
    # The attempt is counted first, by source and by subject: 4. Then the
    # member is read, the attempt taken back (2), the login written with its
    # entry in the audit (3), and the member read again, in case that the
    # account was just disabled.
    ("POST", "/v1/auth/login"): 11,
    # The member is looked for by the id and by the e-mail (2), and made as by
    # POST /v1/users (5), the login written with its entry (3), and the member
    # read again (1). No access token is asked for.
    ("POST", "/v1/auth/firebase"): 11,
    # A login is read and rotated; its access token is not asked for.
    ("POST", "/v1/auth/refresh"): 2,
    # The login's end and its entry in the audit are one transaction (3).
    ("POST", "/v1/auth/logout"): 4,
    # What is revoked is found first, so that one login can be left out.
    ("POST", "/v1/auth/logout-all"): 5,
    ("GET", "/v1/auth/validate"): 1,
    ("GET", "/v1/auth/logins"): 2,
    # The login is read first: it must be the caller's own.
    ("DELETE", "/v1/auth/logins/{login_id}"): 5,
    # The member is read, and the mail queued: its key is looked for first.
    ("POST", "/v1/auth/verify-email/request"): 4,
    # In one transaction, which is committed (1): the token is found and
    # deleted (2), the member read and replaced (2), the deed written down (1),
    # and the welcome queued (2).
    ("POST", "/v1/auth/verify-email"): 8,
    # The asker is counted (2), the mail queued (2): the same for all e-mails.
    ("POST", "/v1/auth/password-reset/request"): 4,
    # As above, but the token is looked at first (1), the other tokens are
    # deleted (1), and two deeds are written down (1). All logins are found
    # and ended twice (4).
    ("POST", "/v1/auth/password-reset"): 15,
    # In a transaction, which is committed (1): the member is held (2), the
    # keys are counted, the key is written, and the deed (3).
    ("POST", "/v1/api-keys"): 7,
    ("GET", "/v1/api-keys"): 2,
    # The key is read first: it must be the caller's own.
    ("DELETE", "/v1/api-keys/{key_id}"): 5,
    # A member, a mail (2) and what was done, in a transaction.
    ("POST", "/v1/users"): 5,
    # The first of a process looks around before (some four).
    ("GET", "/v1/users"): 2,
    ("GET", "/v1/users/me"): 2,
    # A password is confirmed like a log-in's (7). In a transaction (1), the
    # image is found and marked (2), the member read, removed and inserted (3),
    # a mail queued (2), tokens are deleted (1), both changes written down (2).
    # All other logins are found and ended twice (4).
    ("PATCH", "/v1/users/me"): 23,
    # All that is kept is read, one query for each collection; the audit has
    # two ends, and mails are a member's or an e-mail's. That it was asked for
    # is written down.
    ("GET", "/v1/users/me/export"): 16,
    # The password is confirmed like a log-in's (7); sessions that are over are
    # forgotten, the others found (2); the closing, the member,
    # logins, keys and the audit are one transaction (7); then each collection
    # is looked through, the mails by the e-mail as well. A seat is given back
    # as by its own endpoint (10), an own event cancelled likewise.
    ("DELETE", "/v1/users/me"): 42,
    ("GET", "/v1/users/{user_id}"): 2,
    # The member is read, read and replaced (3) together with the entry in the
    # audit, which says what was before (2), and with the tier, which must be
    # there (1); the logins are found and ended (2); they and the keys are given
    # the role and the tier (2); the last read sees whether another admin was
    # faster.
    # Of who is disabled, places in line are looked for, and sessions found, in
    # a transaction (3).
    ("PATCH", "/v1/users/{user_id}"): 15,
    # The images are found and marked (2) in one transaction (1) with it.
    ("POST", "/v1/events"): 5,
    # One query where the guess of how far a page reaches holds; one that
    # falls short is followed by a second, see utils/event_pages.py.
    ("GET", "/v1/events"): 2,
    ("GET", "/v1/events/queue"): 2,
    ("GET", "/v1/events/{event_id}"): 2,
    # An event is changed as it was read: one read, one write. What an admin
    # did is written down (1), the creator or the guests get a mail (2), all in
    # one transaction, which is committed (1). Where a change adds seats, the
    # first in line are found, promoted, told one by one and counted (5), and
    # the event is read again (1). New images are found and marked (2). Where
    # its seats grant sessions, that is read and written (2), and where they
    # want more than before, it is proven as by PUT …/compute (5).
    ("PATCH", "/v1/events/{event_id}"): 22,
    # What its seats grant is read and removed, in turn; their sessions are
    # found, and ended all at once (5).
    ("POST", "/v1/events/{event_id}/cancel"): 12,
    ("POST", "/v1/events/{event_id}/approve"): 7,
    # What its seats grant ends, as by a cancellation (5).
    ("POST", "/v1/events/{event_id}/deny"): 12,
    # The event, its guests, its feedback, a line of the audit, the commit; and
    # as above, what its seats grant (5).
    ("DELETE", "/v1/events/{event_id}"): 11,
    # The event is read; the place and the event's counters are written.
    ("PUT", "/v1/events/{event_id}/rsvp"): 5,
    # Event and place are read, the place removed; the first in line is found,
    # promoted and told (2); then the counters and the commit. What runs on the
    # seat is found and ended (2).
    ("DELETE", "/v1/events/{event_id}/rsvp"): 12,
    ("GET", "/v1/events/{event_id}/rsvp"): 3,
    # The event (may the caller?), a page of guests, their names.
    ("GET", "/v1/events/{event_id}/rsvps"): 4,
    # A page of places, their events; one more where one of them is in a line.
    ("GET", "/v1/users/me/rsvps"): 3,
    # The member is read, the inviter counted (2). In a transaction (1), event
    # and place are read (2), the invitation is written, its mail queued (2),
    # the event touched; and what an admin did is written down.
    ("PUT", "/v1/events/{event_id}/invitations/{user_id}"): 12,
    ("DELETE", "/v1/events/{event_id}/invitations/{user_id}"): 4,
    ("GET", "/v1/events/{event_id}/ticket"): 3,
    # The event, the place; the check-in is written; the name is shown. At
    # somebody else's door, an admin's deed is written down and committed (2).
    ("POST", "/v1/events/{event_id}/check-in"): 7,
    # The same for one scan; each further one reads and writes once.
    ("POST", "/v1/events/{event_id}/check-ins"): 7,
    ("GET", "/v1/events/{event_id}/check-in"): 3,
    # What the seat grants, and runs, is read.
    ("DELETE", "/v1/events/{event_id}/check-in/{user_id}"): 8,
    ("GET", "/v1/events/{event_id}/compute"): 3,
    # In a transaction (1): the event is read, the template claimed (2), and
    # what the seats granted before is read; then the turn is taken, what
    # others were promised, what runs, what is offered and what there is are
    # read (5), the promise is written, the event touched, and an admin's deed
    # (3).
    ("PUT", "/v1/events/{event_id}/compute"): 14,
    # The event is read, and what its seats grant twice; then as by a
    # cancellation (4), an admin's deed, and the commit.
    ("DELETE", "/v1/events/{event_id}/compute"): 10,
    # The event and what its seats grant are read, and that is written, with an
    # admin's deed, in a transaction (2).
    ("POST", "/v1/events/{event_id}/compute/rehearsal"): 6,
    ("GET", "/v1/events/{event_id}/compute/rehearsal"): 3,
    # The event, a page of guests, their names, their sessions.
    ("GET", "/v1/events/{event_id}/board"): 5,
    # The event, what its seats grant, its sessions; then each session is read
    # and written with an admin's deed, in a transaction (4), and to extend it
    # the turn is taken, and what others were promised, what runs and what there
    # is are read (4).
    ("POST", "/v1/events/{event_id}/board/extend"): 12,
    ("POST", "/v1/events/{event_id}/board/end"): 8,
    # Who has a seat is read, and who wants a session read and written (3).
    ("POST", "/v1/events/{event_id}/board/restart"): 11,
    # The event, its guests, its sessions, its feedback, the names.
    ("GET", "/v1/events/{event_id}/usage"): 6,
    # The event and the caller's place are read; the feedback and the event's
    # counters are written and committed; the author's name is shown. Here and
    # below, it takes one more to see that a guest may know of a private event.
    ("POST", "/v1/events/{event_id}/feedback"): 7,
    # The event (may the caller?), a page of feedback, its authors' names.
    ("GET", "/v1/events/{event_id}/feedback"): 4,
    ("GET", "/v1/feedback/{feedback_id}"): 4,
    # Whose is it, and their name; it is read again, changed and counted (4).
    ("PATCH", "/v1/feedback/{feedback_id}"): 7,
    # An admin's deed is written down besides.
    ("DELETE", "/v1/feedback/{feedback_id}"): 8,
    # A page is looked for in the last day, the last month, and in all.
    ("GET", "/v1/audit"): 4,
    # What this worker served is stored first, and what is too old removed (3).
    ("GET", "/v1/http-events"): 5,
    ("GET", "/v1/http-events/{request_id}"): 5,
    ("GET", "/v1/events.ics"): 2,
    ("GET", "/v1/events/{event_id}.ics"): 2,
    # For each hundred dates: what is known is read, what is new is written;
    # what has changed is read and written in a transaction (3 more), unless
    # seats grant sessions (1).
    ("POST", "/v1/events/import"): 7,
    # Its secret names the member; what they created is read, where they go,
    # and a hundred at a time what that is. No login is read.
    ("GET", "/v1/users/me/calendar.ics"): 4,
    # The member is read and written, with the audit, in a transaction.
    ("POST", "/v1/users/me/calendar"): 5,
    ("DELETE", "/v1/users/me/calendar"): 5,
    # The image is written (1), then each of its two files (4 where it has one
    # window of chunks), then it is declared to be there (1).
    ("POST", "/v1/images"): 7,
    # A tier is written with its entry in the audit, in a transaction.
    ("POST", "/v1/tiers"): 4,
    ("GET", "/v1/tiers"): 2,
    ("GET", "/v1/tiers/{name}"): 2,
    # Read first; the same for its limits, which lie in its document.
    ("PATCH", "/v1/tiers/{name}"): 5,
    # One more: has it members?
    ("DELETE", "/v1/tiers/{name}"): 6,
    ("POST", "/v1/tiers/{name}/rate-limits"): 5,
    ("GET", "/v1/tiers/{name}/rate-limits"): 2,
    ("GET", "/v1/tiers/{name}/rate-limits/{limit_id}"): 2,
    ("PATCH", "/v1/tiers/{name}/rate-limits/{limit_id}"): 5,
    ("DELETE", "/v1/tiers/{name}/rate-limits/{limit_id}"): 5,
    # No caller; one window of chunks.
    ("GET", "/v1/images/{image_id}"): 2,
    # The image is read and ended (2), found in events and accounts and taken
    # out (4), the deed of an admin written down (1), all in one transaction
    # (1); then chunks, files and the image are removed (3).
    ("DELETE", "/v1/images/{image_id}"): 12,
    # They are in memory.
    ("GET", "/v1/processes"): 0,
    ("GET", "/v1/processes/{path}"): 0,
    # The caller's tasks are counted, up to 500; of so many, a page takes four
    # looks more at most, see tests/routes/test_tasks.py.
    ("GET", "/v1/tasks"): 3,
    ("GET", "/v1/tasks/{task_id}"): 2,
    # The task is read to see whether it is over; then it may be read, and is.
    ("GET", "/v1/tasks/{task_id}/result"): 4,
    # It is read to see whether there is news, and to begin; then all that are
    # followed are looked at.
    ("GET", "/v1/tasks/{task_id}/events"): 4,
    ("POST", "/v1/tasks/{task_id}/cancel"): 3,
    # Those that wait are counted.
    ("POST", "/v1/tasks/{task_id}/retry"): 4,
    # The template and the GPUs are looked at first (2). In a transaction (1),
    # the turn is taken, and the place looked for and made (3). It is shown with
    # what comes before it: the line, the sessions that live, the GPUs (3).
    ("POST", "/v1/session-requests"): 10,
    ("GET", "/v1/session-requests"): 5,
    ("GET", "/v1/session-requests/{session_request_id}"): 5,
    # In a transaction (1), it is read and removed, and GPUs are freed (3).
    ("DELETE", "/v1/session-requests/{session_request_id}"): 5,
    # It is read and hidden, its files and itself are deleted (3).
    ("DELETE", "/v1/tasks/{task_id}"): 6,
    # All are read at once, and what the caller has.
    ("GET", "/v1/gpus"): 3,
    # As a tier.
    ("POST", "/v1/session-templates"): 4,
    ("GET", "/v1/session-templates"): 2,
    ("GET", "/v1/session-templates/{name}"): 2,
    ("PATCH", "/v1/session-templates/{name}"): 5,
    # One more: do seats grant it?
    ("DELETE", "/v1/session-templates/{name}"): 6,
    # The template is read. In a transaction (1), the turn is taken, what the
    # owner has and had is counted (3), then what is promised, what lives, what
    # is offered, and how many are healthy (4), the line (2); GPUs are found and
    # leased (2), and the session is written (1). When the engine has started
    # it, so is that (1).
    ("POST", "/v1/sessions"): 16,
    ("GET", "/v1/sessions"): 2,
    ("GET", "/v1/sessions/{session_id}"): 2,
    # In a transaction (1), the turn is taken, the session read, what its owner
    # has and had is counted (4), and it is written, with what an admin did (2).
    ("POST", "/v1/sessions/{session_id}/extend"): 9,
    # It is read; in a transaction (1) read again and ended (2), with what an
    # admin did (1).
    ("DELETE", "/v1/sessions/{session_id}"): 6,
    ("GET", "/v1/sessions/{session_id}/logs"): 2,
    ("GET", "/v1/sessions/{session_id}/stats"): 2,
    # As of a process; and as of a task.
    ("POST", "/process_np_array"): 4,
    ("GET", "/result/{task_id}"): 4,
}

# What is stored is added up, the task written, and those that wait counted.
BUDGETS |= {
    ("POST", f"/v1/processes/{process.path}"): 4
    for process in process_registry.list_processes()
}

# These are asked in tests/engine/test_sessions.py.
WITH_ENGINE: set[Operation] = {
    ("POST", "/v1/sessions"),
    ("GET", "/v1/sessions/{session_id}/logs"),
    ("GET", "/v1/sessions/{session_id}/stats"),
}

# What the HTTP events know of already.
_EARLIER = {"X-Request-ID": "an-earlier-one"}

# Reads that need no caller: they cost one less without.
_ANONYMOUS: list[Operation] = [
    ("GET", "/v1/events"),
    ("GET", "/v1/events.ics"),
    ("GET", "/v1/events/{event_id}"),
    ("GET", "/v1/events/{event_id}.ics"),
    ("GET", "/v1/users/{user_id}"),
    ("GET", "/v1/events/{event_id}/feedback"),
    ("GET", "/v1/feedback/{feedback_id}"),
]


@pytest.fixture(name="project", scope="module", autouse=True)
async def _project() -> AsyncIterator[None]:
    """A Firebase that signs in whoever it has seen."""
    with firebase.key_server() as server:
        async with aclosing(RemoteKeys(server.url)) as keys:
            with firebase.signing_in(keys):
                yield


async def _own_calendar(caller: factories.Member) -> dict[str, Any]:
    return {"params": {"token": await calendars.open_own(caller.actor)}}


# What a request holds besides its path; the caller is known to some.
ASKED: dict[
    Operation,
    Callable[[factories.Member], dict[str, Any] | Awaitable[dict[str, Any]]],
] = {
    ("POST", "/v1/auth/login"): lambda caller: {
        "data": {
            "username": caller.user.email,
            "password": factories.PASSWORD,
        }
    },
    ("POST", "/v1/auth/firebase"): lambda _: {
        "json": {"id_token": firebase.id_token()}
    },
    ("POST", "/v1/auth/refresh"): lambda caller: {
        "json": {"refresh_token": caller.tokens.refresh_token}
    },
    ("POST", "/v1/auth/verify-email"): lambda caller: _proof(
        caller, Purpose.EMAIL_VERIFICATION
    ),
    ("POST", "/v1/auth/password-reset/request"): lambda caller: {
        "json": {"email": caller.user.email}
    },
    ("POST", "/v1/auth/password-reset"): lambda caller: _proof(
        caller, Purpose.PASSWORD_RESET, new_password="another long one"
    ),
    ("POST", "/v1/api-keys"): lambda _: {"json": {"name": "door scanner"}},
    ("POST", "/v1/users"): lambda _: {"json": factories.registration()},
    ("PATCH", "/v1/users/me"): lambda _: {
        "json": {
            "email": factories.registration()["email"],
            "password": "another long one",
            "current_password": factories.PASSWORD,
        }
    },
    ("DELETE", "/v1/users/me"): lambda _: {
        "json": {"current_password": factories.PASSWORD}
    },
    ("PATCH", "/v1/users/{user_id}"): lambda _: {
        "json": {"role": "admin", "tier": "silver", "disabled": True}
    },
    ("POST", "/v1/events"): lambda _: {"json": factories.event_body()},
    ("PATCH", "/v1/events/{event_id}"): lambda _: {
        "json": factories.event_body(title="NumPy for all")
    },
    ("POST", "/v1/events/import"): lambda _: factories.calendar_request(
        factories.calendar_entry()
    ),
    ("GET", "/v1/users/me/calendar.ics"): _own_calendar,
    ("POST", "/v1/events/{event_id}/deny"): lambda _: {
        "json": {"reason": "Please name the venue."}
    },
    ("POST", "/v1/events/{event_id}/feedback"): lambda _: {
        "json": {"rating": 5, "comment": "Again, please."}
    },
    ("PATCH", "/v1/feedback/{feedback_id}"): lambda _: {"json": {"rating": 4}},
    ("POST", "/v1/events/{event_id}/check-in"): lambda caller: {
        "json": {"user_id": caller.user.id}
    },
    ("PUT", "/v1/events/{event_id}/compute"): lambda _: {
        "json": {"template": "notebook", "gpus_per_seat": 1}
    },
    ("POST", "/v1/events/{event_id}/compute/rehearsal"): lambda _: {
        "json": {"sessions": 2}
    },
    ("POST", "/v1/events/{event_id}/board/extend"): lambda _: {
        "json": {"all": True, "hours": 1.0}
    },
    ("POST", "/v1/events/{event_id}/board/end"): lambda _: {
        "json": {"all": True}
    },
    ("POST", "/v1/events/{event_id}/board/restart"): lambda caller: {
        "json": {"user_ids": [caller.user.id]}
    },
    ("POST", "/v1/events/{event_id}/check-ins"): lambda caller: {
        "json": {"scans": [{"user_id": caller.user.id}]}
    },
    ("POST", "/process_np_array"): lambda _: {"json": {"array": [1, 2, 4]}},
    ("POST", "/v1/images"): lambda _: {"files": {"file": factories.picture()}},
    ("POST", "/v1/tiers"): lambda _: {"json": {"name": "gold"}},
    ("PATCH", "/v1/tiers/{name}"): lambda _: {"json": {"description": "Ag"}},
    ("POST", "/v1/session-templates"): lambda _: {
        "json": factories.template_body()
    },
    ("PATCH", "/v1/session-templates/{name}"): lambda _: {
        "json": {"image": "lab:2"}
    },
    ("POST", "/v1/sessions/{session_id}/extend"): lambda _: {
        "json": {"hours": 1}
    },
    ("POST", "/v1/tiers/{name}/rate-limits"): lambda _: {
        "json": {"path": "/v1/events", "limit": 9, "period_seconds": 60}
    },
    ("POST", "/v1/session-requests"): lambda _: _a_wish(),
    ("PATCH", "/v1/tiers/{name}/rate-limits/{limit_id}"): lambda _: {
        "json": {"limit": 7}
    },
}


def _example(
    process: process_registry.Process, _: factories.Member
) -> dict[str, Any]:
    return {"json": process.example()}


ASKED |= {
    ("POST", f"/v1/processes/{process.path}"): partial(_example, process)
    for process in process_registry.list_processes()
}

# The bodies that name an image of the caller's, with the field.
_PICTURED: dict[Operation, Callable[[str], dict[str, Any]]] = {
    ("PATCH", "/v1/users/me"): lambda image_id: {"image_id": image_id},
    ("POST", "/v1/events"): lambda image_id: {"image_ids": [image_id]},
    ("PATCH", "/v1/events/{event_id}"): lambda image_id: {
        "image_ids": [image_id]
    },
}

# Where the caller and another member are guests of the event, with how many
# seats there are: of one, the caller has it, and the other one waits.
_SEATS: dict[Operation, int] = {
    ("PATCH", "/v1/events/{event_id}"): 1,
    ("POST", "/v1/events/{event_id}/cancel"): 1,
    ("DELETE", "/v1/events/{event_id}"): 1,
    ("DELETE", "/v1/events/{event_id}/rsvp"): 1,
    ("GET", "/v1/events/{event_id}/rsvp"): 1,
    ("GET", "/v1/events/{event_id}/rsvps"): 1,
    ("GET", "/v1/users/me/rsvps"): 1,
    ("DELETE", "/v1/users/me"): 1,
    ("GET", "/v1/users/me/calendar.ics"): 1,
    ("GET", "/v1/events/{event_id}/ticket"): 2,
    ("POST", "/v1/events/{event_id}/check-in"): 2,
    ("POST", "/v1/events/{event_id}/check-ins"): 2,
    ("GET", "/v1/events/{event_id}/check-in"): 2,
    ("DELETE", "/v1/events/{event_id}/check-in/{user_id}"): 2,
    ("POST", "/v1/events/{event_id}/feedback"): 2,
    ("GET", "/v1/events/{event_id}/feedback"): 2,
    ("GET", "/v1/feedback/{feedback_id}"): 2,
    ("PATCH", "/v1/feedback/{feedback_id}"): 2,
    ("DELETE", "/v1/feedback/{feedback_id}"): 2,
}

# Where the event's seats grant sessions, and the caller, if a guest, has one.
_GRANTED: set[Operation] = {
    ("PATCH", "/v1/events/{event_id}"),
    ("POST", "/v1/events/{event_id}/cancel"),
    ("DELETE", "/v1/events/{event_id}"),
    ("DELETE", "/v1/events/{event_id}/rsvp"),
    ("DELETE", "/v1/events/{event_id}/check-in/{user_id}"),
    ("GET", "/v1/events/{event_id}/compute"),
    ("PUT", "/v1/events/{event_id}/compute"),
    ("DELETE", "/v1/events/{event_id}/compute"),
    ("POST", "/v1/events/{event_id}/compute/rehearsal"),
    ("GET", "/v1/events/{event_id}/compute/rehearsal"),
    ("GET", "/v1/events/{event_id}/board"),
    ("POST", "/v1/events/{event_id}/board/extend"),
    ("POST", "/v1/events/{event_id}/board/end"),
    ("POST", "/v1/events/{event_id}/board/restart"),
    ("GET", "/v1/events/{event_id}/usage"),
}
_SEATS |= {
    asked: 2 for asked in _GRANTED if asked not in _SEATS
}

_SOME_TIME = {
    "$gt": datetime(1970, 1, 1, tzinfo=UTC),
    "$lt": datetime(2030, 5, 1, tzinfo=UTC),
}

# Each has an index that selects by it, with the collection that it reads.
_LOOKUPS: list[tuple[str, db.Document]] = [
    ("feedback", {"author_id": "x"}),
    ("feedback", {"event_id": "x"}),
    ("api_keys", {"user_id": "x"}),
    ("http_events", {"request_id": "x"}),
    ("http_events", {"order": {"$lt": 1}}),
    ("audit", {"action": "x"}),
    ("audit", {"actor_id": "x"}),
    ("audit", {"target_id": "x"}),
    ("audit", {"at": {"$gt": datetime(2030, 1, 1, tzinfo=UTC)}}),
    ("logins", {"refresh_hash": "x"}),
    ("mails", {"key": "x"}),
    ("mails", {"user_id": "x"}),
    ("mails", {"email": "x"}),
    ("mails", {"revision": "x"}),
    ("mails", {"bulk": False, "due_at": _SOME_TIME}),
    ("one_time_tokens", {"hash": "x"}),
    ("one_time_tokens", {"user_id": "x", "purpose": "x"}),
    ("users", {"email_key": "x"}),
    ("users", {"tier": "x"}),
    ("tiers", {"name": "x"}),
    ("tiers", {"revision": "x"}),
    ("users", {"revision": "x"}),
    ("events", {"revision": "x"}),
    ("events", {"creator_id": "x"}),
    ("rsvps", {"event_id": "x", "user_id": "x"}),
    ("rsvps", {"event_id": "x", "status": "waitlisted", "order": {"$lt": 9}}),
    ("rsvps", {"user_id": "x"}),
    ("rsvps", {"revision": "x"}),
    ("mails", {"key": "x"}),
    ("events", {"import_key": {"$gte": "x", "$lt": "x~"}}),
    ("users", {"calendar_hash": "x"}),
    ("users", {"firebase_id": "x"}),
    ("idempotency", {"owner": "x"}),
    ("events", {"image_ids": {"$in": ["x", "y"]}}),
    ("users", {"image_id": {"$in": ["x", "y"]}}),
    ("images", {"revision": "x"}),
    ("images", {"owner_id": "x"}),
    ("session_requests", {"revision": "x"}),
    ("session_requests", {"owner_id": "x"}),
    ("session_requests", {"status": "waiting"}),
    ("tasks", {"revision": "x:0"}),
    ("tasks", {"slot": "x"}),
    ("tasks", {"status": "queued"}),
    ("tasks", {"owner_id": "x"}),
    ("tasks", {"owner_id": "x", "status": {"$in": ["queued", "hidden"]}}),
    ("tasks", {"expires_at": _SOME_TIME}),
    ("gpu_inventory", {"session_id": "x"}),
    ("gpu_inventory", {"request_id": "x"}),
    ("session_templates", {"name": "x"}),
    ("session_templates", {"revision": "x"}),
    ("sessions", {"revision": "x"}),
    ("sessions", {"owner_id": "x"}),
    ("sessions", {"owner_id": "x", "created_at": _SOME_TIME}),
    ("sessions", {"event_id": "x"}),
    ("sessions", {"status": {"$in": ["running"]}}),
    ("sessions", {"due_at": _SOME_TIME}),
    ("images.chunks", {"files_id": "x", "n": {"$gte": 0, "$lt": 4}}),
    ("seat_grants", {"revision": "x"}),
    ("seat_grants", {"closes_at": _SOME_TIME}),
    ("seat_grants", {"template": "x", "closes_at": _SOME_TIME}),
    ("events", {"lookup.listed": True, "lookup.terms": "wo"}),
    ("events", {"lookup.listed": True, "lookup.cells": {"$in": ["0.1:1:1"]}}),
    ("events", {"lookup.listed": True, "tags": {"$in": ["food"]}}),
    ("events", {"lookup.listed": True, "lookup.weeks": {"$in": [1]}}),
]


async def _proof(
    caller: factories.Member, purpose: Purpose, **more: str
) -> dict[str, Any]:
    """A body with a token that the caller was sent."""
    return {"json": {"token": await factories.token(caller, purpose), **more}}


async def _cost(
    client: httpx.AsyncClient, operation: Operation, *, signed_in: bool
) -> tuple[list[str], list[Shape]]:
    """What one successful request sends, and what that looks for.

    An admin may make them all.
    """
    method, template = operation
    caller, other = await factories.admin(), await factories.member()
    event_id, feedback_id = await _event_id(other, signed_in), ""
    if operation in _SEATS:
        await _fill(event_id, _SEATS[operation], [caller, other])
    if operation in _GRANTED:
        await _grant(event_id, caller, operation)
    if "feedback" in template and method != "POST":
        author = caller if method == "PATCH" else other
        feedback_id = await _feedback_id(event_id, author)
    path = template.format(
        login_id=caller.actor.login_id,
        user_id=other.user.id,
        event_id=event_id,
        feedback_id=feedback_id,
        path="np-array",
        request_id=_EARLIER["X-Request-ID"],
        **await named(),
        session_id=await _session_id(other) if "session_id" in template else "",
        session_request_id=(await factories.place_in_line(caller.actor)).id
        if "session_request_id" in template
        else "",
        key_id=await _key_id(caller) if "{key_id}" in template else "",
        image_id=await _image_id(other) if "{image_id}" in template else "",
        task_id=await _task_id(caller, operation),
    )
    asked = await _asked(operation, caller)
    # A list guesses from the last one, maybe another test's; a page that was
    # not full makes it forget.
    await client.get("/v1/events", headers=_EARLIER)
    users._PACE.clear()  # pylint: disable=protected-access
    await client.get("/v1/users", auth=caller)
    # Nothing is cached: that is what it costs at most.
    cache.forget_all()
    with counted() as commands, asked_for() as shapes:
        response = await client.request(
            method, path, auth=caller if signed_in else None, **asked
        )
    assert response.is_success, response.text
    return commands, shapes


async def _asked(
    operation: Operation, caller: factories.Member
) -> dict[str, Any]:
    """What the request holds besides its path."""
    asked = ASKED[operation](caller) if operation in ASKED else {}
    if inspect.isawaitable(asked):
        asked = await asked
    if operation in _PICTURED:
        image = await factories.image(caller.actor)
        asked["json"] |= _PICTURED[operation](image.id)
    return asked


async def _event_id(creator: factories.Member, pending: bool) -> str:
    """An event that an admin can do everything with, or one for everybody.

    It goes on now: it can be changed, joined and rated.
    """
    by = creator.actor if pending else None
    starts_at = factories.at(-factories.HOUR)
    return (await factories.event(by, starts_at=starts_at)).id


async def _a_wish() -> dict[str, Any]:
    await factories.gpus(1)
    await factories.session_template("line", gpus_max=4, hours_max=8.0)
    return {"json": {"template": "line", "hours": 1.0}}


async def named() -> dict[str, str]:
    """A tier with a limit, and a session template, of one name."""
    silver = await factories.tier("silver")
    await factories.session_template("silver")
    return {"name": silver.name, "limit_id": silver.limits[0].id}


async def _feedback_id(event_id: str, author: factories.Member) -> str:
    new = FeedbackCreate(rating=5)
    given = await feedback.create_feedback(event_id, new, actor=author.actor)
    return given.id


async def _fill(
    event_id: str, seats: int, guests: Sequence[factories.Member]
) -> None:
    host = factories.actor(Role.ADMIN)
    await events.update_event(
        event_id, EventUpdate(capacity=seats), actor=host, if_match=[]
    )
    for guest in guests:
        await rsvps.join(event_id, actor=guest.actor)


async def _grant(
    event_id: str, caller: factories.Member, operation: Operation
) -> None:
    """Has each seat grant a GPU; the caller uses theirs."""
    await factories.gpus(20)
    await factories.session_template()
    event = await events.load_event(event_id)
    await factories.seat_grant(event, caller.actor, needs_check_in=False)
    await factories.seat_session(
        event, caller, expires_at=event.ends_at - factories.HOUR / 2
    )
    if operation == ("GET", "/v1/events/{event_id}/compute/rehearsal"):
        await event_compute.start_rehearsal(
            event_id, RehearsalStart(sessions=1), actor=caller.actor
        )
    if "{user_id}" in operation[1]:
        await factories.seat_grant(event, caller.actor, needs_check_in=True)


async def _session_id(owner: factories.Member) -> str:
    return (await factories.session(owner.actor)).id


async def _key_id(owner: factories.Member) -> str:
    new = ApiKeyCreate(name="door scanner")
    return (await api_keys.create_key(new, actor=owner.actor)).id


async def _image_id(owner: factories.Member) -> str:
    """An image that an event and its owner's account show."""
    image = await factories.image(owner.actor)
    await factories.event(owner.actor, image_ids=[image.id])
    await users.update_user(
        UserUpdate(image_id=image.id),
        actor=owner.actor,
        confirmed=None,
        if_match=(),
    )
    return image.id


async def _task_id(caller: factories.Member, operation: Operation) -> str:
    """A task of the caller's with which the operation can be done."""
    if "{task_id}" not in operation[1]:
        return ""
    state = {
        ("POST", "/v1/tasks/{task_id}/cancel"): TaskStatus.QUEUED,
        ("POST", "/v1/tasks/{task_id}/retry"): TaskStatus.CANCELLED,
    }.get(operation, TaskStatus.SUCCEEDED)
    return (await factories.task(caller.actor, state)).id


async def _plan(collection: str, condition: db.Document) -> str:
    """How the database would find what fulfils `condition`."""
    creator = await factories.member()
    await factories.event(creator.actor)
    explained = await db.get_client()[settings.mongo_db_name].command(
        "explain", {"find": collection, "filter": condition}
    )
    return str(explained["queryPlanner"]["winningPlan"])


class TestBudgets:
    def test_every_operation_has_one(self) -> None:
        assert set(BUDGETS) == set(operations())

    def test_only_operations_are_asked_for(self) -> None:
        assert {*ASKED, *_ANONYMOUS} <= set(BUDGETS)

    @pytest.mark.parametrize(
        "method, path", sorted({*operations(), *HOT} - WITH_ENGINE)
    )
    async def test_is_kept(
        self, client: httpx.AsyncClient, method: str, path: str
    ) -> None:
        plain = method, path.partition("?")[0]
        commands, shapes = await _cost(
            client,
            (method, path),
            signed_in="security" in operations()[plain],
        )
        assert len(commands) <= BUDGETS[plain], commands
        if (method, path) in HOT:
            scattered = (method, path) in SCATTERED
            assert bool(strays(shapes)) == scattered, shapes

    @pytest.mark.parametrize("method, path", _ANONYMOUS)
    async def test_is_one_less_for_nobody(
        self, client: httpx.AsyncClient, method: str, path: str
    ) -> None:
        commands, _ = await _cost(client, (method, path), signed_in=False)
        assert len(commands) < BUDGETS[method, path], commands


@pytest.mark.usefixtures("database")
class TestPlans:
    @pytest.mark.parametrize("collection, condition", _LOOKUPS, ids=str)
    async def test_a_lookup_uses_an_index(
        self, collection: str, condition: db.Document
    ) -> None:
        plan = await _plan(collection, condition)
        assert "IXSCAN" in plan
        assert "COLLSCAN" not in plan

    async def test_a_scan_would_be_seen(self) -> None:
        assert "COLLSCAN" in await _plan("events", {"title": "x"})
