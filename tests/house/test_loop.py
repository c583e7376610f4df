"""Nothing blocks the event loop: a watch on every callback that it runs."""

import asyncio
import gc
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from pwdlib.hashers.argon2 import Argon2Hasher

from tests import factories
from tests.contract import operations
from tests.mailbox import collect, token_in
from utils import passwords

# A callback that computes longer than this holds everybody else up. It is the
# loop thread's own processor time, so that a busy machine fails nobody.
_LONGEST_SECONDS = 0.1


_sleep = time.sleep


class _Auditor:
    """Notes what waits on the loop's own thread, whether it takes long or not.

    An audit hook can't be removed, so it looks whether anybody listens.
    """

    def __init__(self) -> None:
        self.waits: list[str] | None = None
        self.thread = 0
        sys.addaudithook(self._note)

    def sleep(self, seconds: float) -> None:
        """Stands for `time.sleep`, which Python 3.11 does not audit."""
        if self.waits is not None and threading.get_ident() == self.thread:
            self.waits.append("time.sleep")
        _sleep(seconds)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.waits is None or threading.get_ident() != self.thread:
            return
        if event in ("subprocess.Popen", "os.system"):
            self.waits.append(event)
        elif event == "socket.connect":
            connection = arguments[0]
            # asyncio's own sockets never wait; a synchronous driver's do.
            if (
                isinstance(connection, socket.socket)
                and connection.timeout != 0
            ):
                self.waits.append(event)


_AUDITOR = _Auditor()


@contextmanager
def _watched() -> Iterator[list[str]]:
    """The callbacks that blocked the loop inside the block, and the waits."""
    # The tests' client compares answers with it; it is made once a process.
    operations()
    blocked: list[str] = []
    run = asyncio.Handle._run  # pylint: disable=protected-access

    def timed(handle: asyncio.Handle) -> None:
        begin = time.thread_time()
        run(handle)
        if time.thread_time() - begin > _LONGEST_SECONDS:
            blocked.append(repr(handle))

    # What other tests left behind is not this one's to tidy up.
    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", timed)
        patch.setattr(time, "sleep", _AUDITOR.sleep)
        patch.setattr(_AUDITOR, "thread", threading.get_ident())
        patch.setattr(_AUDITOR, "waits", blocked)
        yield blocked
    gc.unfreeze()


@pytest.fixture(name="slow_hasher")
def _slow_hasher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that no processor computes within the limit."""
    hasher = Argon2Hasher(time_cost=20, memory_cost=32 * 1024, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", hasher)
    monkeypatch.setattr(passwords, "_NOBODYS_HASH", hasher.hash("nobody"))


@pytest.mark.usefixtures("slow_hasher")
async def test_requests_do_not_block_it(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    registration = factories.registration()
    form = {
        "username": registration["email"],
        "password": registration["password"],
    }
    with _watched() as slow:
        await client.post("/v1/users", json=registration)
        login = await client.post("/v1/auth/login", data=form)
        await client.post("/v1/auth/login", data={**form, "username": "x@y.z"})
        token = login.json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        body = factories.event_body(description="word " * 2000)
        await client.post("/v1/events", json=body, headers=headers)
        await client.get("/v1/events", params={"near": "48.87,2.33", "q": "n"})
        change = {
            "password": "another long one",
            "current_password": registration["password"],
        }
        await client.patch("/v1/users/me", json=change, headers=headers)
        email = {"email": registration["email"]}
        await client.post("/v1/auth/password-reset/request", json=email)
        messages = await collect(tmp_path)
        proofs = map(token_in, messages)
        for proof in proofs:
            reset = {"token": proof, "new_password": "yet another long one"}
            await client.post("/v1/auth/password-reset", json=reset)
    assert len(messages) == 2
    assert not slow


async def test_calendars_do_not_block_it(client: httpx.AsyncClient) -> None:
    """A file of a megabyte comes in, and a feed of a thousand goes out."""
    member = await factories.member()
    words = " ".join(f"word{n}" for n in range(60))
    entries = [
        factories.calendar_entry(DESCRIPTION=f"{n} {words}")
        for n in range(1500)
    ]
    body = factories.calendar_request(*entries)
    assert 900_000 < len(body["content"]) < 1024 * 1024
    # A hundred dates with long texts, and the same again, changed.
    daily = [
        factories.calendar_entry(
            UID="daily", RRULE="FREQ=DAILY", DESCRIPTION=word * 2000
        )
        for word in ("word ", "wort ")
    ]
    with _watched() as slow:
        for entry in daily:
            await client.post(
                "/v1/events/import",
                auth=member,
                **factories.calendar_request(entry),
            )
        response = await client.post("/v1/events/import", auth=member, **body)
        assert response.json()["created"] == 1000
        feed = await client.get(
            "/v1/events.ics", params={"mine": True}, auth=member
        )
        assert feed.content.count(b"BEGIN:VEVENT") == 1000
    assert not slow


async def test_a_large_picture_does_not_block_it(
    client: httpx.AsyncClient,
) -> None:
    member = await factories.member()
    file = factories.picture(size=(5000, 4000))
    with _watched() as slow:
        response = await client.post(
            "/v1/images", files={"file": file}, auth=member
        )
        await client.get(f"/v1/images/{response.json()['id']}")
    assert not slow


@pytest.mark.usefixtures("slow_hasher")
async def test_the_watch_sees_a_blocked_loop() -> None:
    async def block() -> None:
        # pylint: disable-next=protected-access  # past its own thread
        passwords._HASHER.hash("computed on the loop")

    with _watched() as slow:
        await asyncio.create_task(block())
    assert len(slow) == 1


@pytest.mark.parametrize(
    "wait",
    [
        lambda: time.sleep(0),
        lambda: subprocess.run(["true"], check=True),
        lambda: socket.create_connection(("127.0.0.1", 1), timeout=1),
    ],
)
async def test_the_watch_sees_a_wait(wait: Callable[[], object]) -> None:
    with _watched() as slow, suppress(OSError):
        wait()
    assert len(slow) == 1
