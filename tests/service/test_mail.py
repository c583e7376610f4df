"""Mail of a running service: to files, by SMTP, from a killed worker."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import factories
from tests.mailbox import Inbox, mail_server, read, token_in
from tests.service.running import MARKS, Person, Service, wait_for

pytestmark = [
    *MARKS,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:aiosmtpd"),
]

# A killed worker's claim on a mail runs out.
CLAIM_SECONDS = 30


@contextmanager
def _mail_server() -> Iterator[tuple[Inbox, asyncio.AbstractEventLoop]]:
    """A mail server with a loop, and a thread, of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    opened: Future[Inbox] = Future()
    over = asyncio.Event()

    async def serve() -> None:
        async with mail_server() as inbox:
            opened.set_result(inbox)
            await over.wait()

    serving = asyncio.run_coroutine_threadsafe(serve(), loop)
    try:
        yield opened.result(10), loop
    finally:
        loop.call_soon_threadsafe(over.set)
        serving.result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class TestFiles:
    def test_register_and_verify(
        self, service: Service, client: httpx.Client
    ) -> None:
        person = Person.register(client)
        me = person.get("/v1/users/me").json()
        assert me["email_verified"] is False
        folder = service.data_dir / "mail"
        wait_for(lambda: _tokens(folder, person.email), 5)
        (token,) = _tokens(folder, person.email)
        for status in (204, 422):
            response = client.post(
                "/v1/auth/verify-email", json={"token": token}
            )
            assert response.status_code == status
        assert person.get("/v1/users/me").json()["email_verified"] is True

    def test_operators_are_warned_once(self, tmp_path: Path) -> None:
        secret = "k9Zq-" * 8 + "Wc7xTn2LmP0"
        with Service(
            tmp_path, ENVIRONMENT="staging", JWT_SECRET_KEY=secret
        ) as staging:
            assert staging.errors().count("SMTP_URL is not set") == 1


class TestSmtp:
    def test_killed_worker(self, tmp_path: Path) -> None:
        """What it was about to send is sent by another one, and all once."""
        with _mail_server() as (inbox, loop):
            gate = asyncio.Event()
            # Both workers stand at the door with a mail in the hand.
            inbox.hold += [gate, gate]
            with Service(
                tmp_path, SMTP_URL=inbox.url, WEB_CONCURRENCY="2"
            ) as service:
                with service.client() as client:
                    emails = [_register(client) for _ in range(8)]
                    wait_for(lambda: not inbox.hold)
                    os.kill(min(service.workers()), signal.SIGKILL)
                    loop.call_soon_threadsafe(gate.set)
                    wait_for(
                        lambda: len(inbox.messages) == len(emails),
                        CLAIM_SECONDS + 15,
                    )
            assert sorted(inbox.recipients) == sorted(emails)
            names = {message["Message-ID"] for message in inbox.messages}
            assert len(names) == len(emails)


def _register(client: httpx.Client) -> str:
    body = factories.registration()
    assert client.post("/v1/users", json=body).status_code == 201
    return str(body["email"])


def _tokens(folder: Path, email: str) -> list[str]:
    return [token_in(m) for m in read(folder) if m["To"] == email]
