"""Mail: hands a message over to a server, or writes it to a file.

What a message says and whom it goes to is none of its business.
"""

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

import aiosmtplib
from aiosmtplib import SMTPException, SMTPResponseException

from config.setting_values import SmtpServer
from config.settings import Settings

# Of one answer of the server; the one to the whole text may take longer, as
# giving up then leaves open whether it has the mail.
_ANSWER_SECONDS: Final = 15.0
_TEXT_ANSWER_SECONDS: Final = 120.0

_LOCAL: Final = ("localhost", "127.0.0.1", "::1")

MaySend = Callable[[], Awaitable[bool]]


class Outcome(StrEnum):
    """What became of a message.

    SENT: the server has it. REFUSED: it will never take it. LATER: it does not
    have it, and may take it later. UNKNOWN: it may have it. WITHHELD: the
    sender thought better of it.
    """

    SENT = "sent"
    REFUSED = "refused"
    LATER = "later"
    UNKNOWN = "unknown"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message, and the server's words on it."""

    outcome: Outcome
    reason: str = ""


class Transport(Protocol):
    """Where messages go."""

    async def send(
        self, message: EmailMessage, *, before_data: MaySend
    ) -> Delivery:
        """Sends a message to the address in its `To`.

        Args:
            message: with From, one To and a Message-ID.
            before_data: is asked right before the text goes out, from when on
                nobody can tell any more whether a server has it; False keeps
                it back.
        """

    async def aclose(self) -> None:
        """Says good-bye to the server."""


def transport_of(settings: Settings) -> Transport:
    """The transport that the settings ask for."""
    server = settings.smtp_server
    if server is None:
        return FileTransport(settings.data_dir / "mail")
    return SmtpTransport(server)


def warning_of(settings: Settings) -> str | None:
    """What an operator should know who may have forgotten SMTP_URL."""
    if settings.smtp_url is not None or settings.in_development:
        return None
    folder = settings.data_dir / "mail"
    return f"SMTP_URL is not set: mail is sent to nobody, see {folder}"


class FileTransport:
    """Writes each message to a file, for those who develop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(
        self, message: EmailMessage, *, before_data: MaySend
    ) -> Delivery:
        """Writes a message; written twice, it is the same file.

        So nothing hangs on `before_data`, which is not asked.
        """
        del before_data
        name = str(message["Message-ID"]).strip("<>").partition("@")[0]
        text = message.as_bytes(policy=SMTPUTF8)
        try:
            await asyncio.to_thread(_write, self._folder / f"{name}.eml", text)
        except OSError as error:
            return Delivery(Outcome.LATER, str(error))
        return Delivery(Outcome.SENT)

    async def aclose(self) -> None:
        """Nothing is open."""


class SmtpTransport:
    """Hands messages over to a server, on one connection that is kept."""

    def __init__(self, server: SmtpServer) -> None:
        # A password never goes in the clear over a network, whatever the
        # server, or somebody in between, offers.
        secret = server.password is not None and server.host not in _LOCAL
        self._client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.tls,
            start_tls=True if secret and not server.tls else None,
            timeout=_ANSWER_SECONDS,
        )
        self._turn = asyncio.Lock()

    async def send(
        self, message: EmailMessage, *, before_data: MaySend
    ) -> Delivery:
        """Sends a message, one at a time."""
        async with self._turn:
            refusal = await self._announce(message)
            if refusal is not None:
                return refusal
            if not await before_data():
                return Delivery(Outcome.WITHHELD)
            try:
                return await self._send_text(message)
            except BaseException:
                # Cancelled half-way: nothing else may follow on this line.
                self._client.close()
                raise

    async def aclose(self) -> None:
        """Says good-bye to the server."""
        if self._client.is_connected:
            with suppress(SMTPException, OSError):
                await self._client.quit()
        self._client.close()

    async def _announce(self, message: EmailMessage) -> Delivery | None:
        """Asks whether the server takes it; None when it does."""
        try:
            await self._greet()
            needs_utf8 = not _recipient(message).isascii()
            if needs_utf8 and not self._client.supports_extension("smtputf8"):
                reason = "the server knows no address beyond ASCII"
                return Delivery(Outcome.REFUSED, reason)
            await self._client.mail(
                message["From"].addresses[0].addr_spec,
                options=["SMTPUTF8", "BODY=8BITMIME"] if needs_utf8 else [],
            )
            await self._client.rcpt(_recipient(message), encoding="utf-8")
        except aiosmtplib.SMTPRecipientRefused as error:
            return _answered(error)
        except (SMTPException, OSError) as error:
            # A server that refuses us, and not the one whom the mail is for,
            # may be talked to by an operator.
            self._client.close()
            return Delivery(Outcome.LATER, _in_one_line(error))
        return None

    async def _greet(self) -> None:
        if self._client.is_connected:
            try:
                # The last message may have been kept back half-way; and a
                # server that closed an idle connection shows it here.
                await self._client.rset()
                return
            except (SMTPException, OSError):
                pass
        self._client.close()
        await self._client.connect()

    async def _send_text(self, message: EmailMessage) -> Delivery:
        try:
            await self._client.data(
                _on_the_wire(message), timeout=_TEXT_ANSWER_SECONDS
            )
        except aiosmtplib.SMTPDataError as error:
            return _answered(error)
        except (SMTPException, OSError) as error:
            self._client.close()
            return Delivery(Outcome.UNKNOWN, _in_one_line(error))
        return Delivery(Outcome.SENT)


def _answered(error: SMTPResponseException) -> Delivery:
    outcome = {4: Outcome.LATER, 5: Outcome.REFUSED}.get(error.code // 100)
    # No server should answer anything else here.
    return Delivery(outcome or Outcome.UNKNOWN, _in_one_line(error))


def _in_one_line(error: Exception) -> str:
    # What a server says must not look like lines of our own.
    code = f"{error.code} " if isinstance(error, SMTPResponseException) else ""
    words = getattr(error, "message", "") or str(error) or type(error).__name__
    text = "".join(c if c.isprintable() else " " for c in str(words))
    return f"{code}{text}"[:300]


def _recipient(message: EmailMessage) -> str:
    return str(message["To"].addresses[0].addr_spec)


def _on_the_wire(message: EmailMessage) -> bytes:
    if not _recipient(message).isascii():
        return message.as_bytes(policy=SMTPUTF8)
    # Every server takes seven bits.
    return message.as_bytes(policy=SMTP.clone(cte_type="7bit"))


def _write(path: Path, text: bytes) -> None:
    """Writes a file at one stroke: whoever sees its name sees all of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError:
        with suppress(OSError):
            os.unlink(draft)
        raise
