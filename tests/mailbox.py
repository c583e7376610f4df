"""Where tests get their mail: files, and a real SMTP server."""

import asyncio
import email
import email.policy
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from config.mail import FileTransport, SmtpTransport
from config.setting_values import SmtpServer
from models.base import utc_now
from utils import mailer

HOST = "127.0.0.1"
USERNAME = "muster"
PASSWORD = "p@ss:word/"


async def collect(
    folder: Path, *, clock: Callable[[], datetime] = utc_now
) -> list[EmailMessage]:
    """Sends what is due to files; returns all that ever came."""
    await mailer.deliver_due(FileTransport(folder), clock=clock)
    return read(folder)


def read(folder: Path) -> list[EmailMessage]:
    """The messages in a folder."""
    return [parse(path.read_bytes()) for path in sorted(folder.glob("*.eml"))]


def parse(raw: bytes) -> EmailMessage:
    """A message as it came."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def text_of(message: EmailMessage) -> str:
    """What a message says."""
    return str(message.get_content()).replace("\r\n", "\n")


def token_in(message: EmailMessage) -> str:
    """The token that a message brings."""
    found = re.search(r'"token": "([^"]+)"|#token=(\S+)', text_of(message))
    assert found is not None
    return found[1] or found[2]


@dataclass
class Inbox:  # pylint: disable=too-many-instance-attributes  # One a fault.
    """A real SMTP server's users, and how it treats their mail.

    Attributes:
        messages: what it took, in order.
        recipients: for whom.
        at_rcpt, at_data: its next answers; 250 when there are none. `drop`
            ends the connection without any.
        hold: what it waits for before it answers RCPT.
        waiting: set when it does.
        connections: how many there were.
        passwords: those that were tried.
    """

    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    at_rcpt: list[str] = field(default_factory=list)
    at_data: list[str] = field(default_factory=list)
    hold: list[asyncio.Event] = field(default_factory=list)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    passwords: list[bytes] = field(default_factory=list)
    port: int = 0
    open: list[SMTP] = field(default_factory=list)

    @property
    def url(self) -> str:
        """What SMTP_URL would be."""
        return f"smtp://{HOST}:{self.port}"

    def transport(self, url: str = "") -> SmtpTransport:
        """A worker's way to it."""
        return SmtpTransport(SmtpServer.parse(url or self.url))

    def hang_up(self) -> None:
        """Ends all connections, as a server does that was idle for long."""
        for connection in self.open:
            _abort(connection)

    # The names are aiosmtpd's.
    # pylint: disable=invalid-name

    async def handle_RCPT(
        self,
        server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        """Whether it takes mail for an address."""
        if self.hold:
            self.waiting.set()
            await self.hold.pop(0).wait()
        answer = self.at_rcpt.pop(0) if self.at_rcpt else "250 OK"
        if answer == "drop":
            _abort(server)
        elif answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Takes a message, or does not."""
        answer = self.at_data.pop(0) if self.at_data else "250 OK"
        if answer == "drop" or answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.messages.append(parse(envelope.content))
            self.recipients += envelope.rcpt_tos
        if answer == "drop":
            _abort(server)
        return answer

    def authenticate(
        self,
        _server: SMTP,
        _session: Session,
        _envelope: Envelope,
        _mechanism: str,
        given: object,
    ) -> AuthResult:
        """Whether it knows a user."""
        assert isinstance(given, LoginPassword)
        self.passwords.append(given.password)
        known = (given.login, given.password) == (
            USERNAME.encode(),
            PASSWORD.encode(),
        )
        return AuthResult(success=known, handled=False)


@asynccontextmanager
async def mail_server(
    *, smtps: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[Inbox]:
    """A real SMTP server, while the block runs.

    Args:
        smtps: encrypts from the first byte on.
        options: aiosmtpd's own, such as `tls_context` for STARTTLS.
    """
    inbox = Inbox()
    loop = asyncio.get_running_loop()

    def connection() -> SMTP:
        inbox.connections += 1
        protocol = SMTP(
            inbox, loop=loop, authenticator=inbox.authenticate, **options
        )
        inbox.open.append(protocol)
        return protocol

    server = await loop.create_server(connection, HOST, 0, ssl=smtps)
    inbox.port = server.sockets[0].getsockname()[1]
    try:
        yield inbox
    finally:
        server.close()
        inbox.hang_up()
        await server.wait_closed()


def _abort(server: SMTP) -> None:
    transport = server.transport
    # Of one that is closed already, nothing may be left to abort.
    if isinstance(transport, asyncio.Transport) and not transport.is_closing():
        transport.abort()
