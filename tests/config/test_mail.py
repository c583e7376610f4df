"""Transports, at a real SMTP server and at real files."""

import datetime
import ipaddress
import ssl
import stat
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from config.mail import (
    FileTransport,
    Outcome,
    SmtpTransport,
    transport_of,
    warning_of,
)
from config.settings import Settings
from models.base import new_id
from tests.mailbox import (
    HOST,
    Inbox,
    mail_server,
    parse,
    text_of,
)

# It warns of what is done here on purpose, and of its own code.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:aiosmtpd"),
]

LOGIN = "muster:p%40ss%3Aword%2F"


async def _yes() -> bool:
    return True


async def _no() -> bool:
    return False


def _message(
    to: str = "ada@example.org", text: str = "Hello.\n"
) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"] = "Muster <muster@example.org>"
    message["To"] = to
    message["Subject"] = "Grüße"
    message["Message-ID"] = f"<{new_id()}@example.org>"
    message.set_content(text, cte="7bit" if text.isascii() else "8bit")
    return message


async def _send(
    transport: SmtpTransport, message: EmailMessage | None = None
) -> Outcome:
    delivery = await transport.send(message or _message(), before_data=_yes)
    return delivery.outcome


@pytest.fixture(name="inbox")
async def _inbox() -> AsyncIterator[Inbox]:
    async with mail_server() as inbox:
        yield inbox


@pytest.fixture(name="transport")
async def _transport(inbox: Inbox) -> AsyncIterator[SmtpTransport]:
    transport = inbox.transport()
    yield transport
    await transport.aclose()


class TestSmtp:
    async def test_keeps_its_connection(
        self, inbox: Inbox, transport: SmtpTransport
    ) -> None:
        for _ in range(5):
            assert await _send(transport) is Outcome.SENT
        assert inbox.connections == 1
        assert len(inbox.messages) == 5
        assert inbox.messages[0]["Subject"] == "Grüße"

    async def test_connects_again(
        self, inbox: Inbox, transport: SmtpTransport
    ) -> None:
        await _send(transport)
        inbox.hang_up()
        assert await _send(transport) is Outcome.SENT
        await transport.aclose()
        assert await _send(transport) is Outcome.SENT
        assert (inbox.connections, len(inbox.messages)) == (3, 3)

    async def test_every_server_takes_seven_bits(
        self, inbox: Inbox, transport: SmtpTransport
    ) -> None:
        text = "Zoë: 欢迎\r\n.\r\nan end of its own\r\n" + "x" * 500 + "\r\n"
        message = _message(text=text)
        assert await _send(transport, message) is Outcome.SENT
        assert inbox.messages[0].as_bytes().isascii()
        assert text_of(inbox.messages[0]) == text.replace("\r\n", "\n")

    @pytest.mark.parametrize(
        ("at_rcpt", "at_data", "outcome"),
        [
            ("550 no such user", "", Outcome.REFUSED),
            ("451 greylisted", "", Outcome.LATER),
            ("drop", "", Outcome.LATER),
            ("", "554 spam", Outcome.REFUSED),
            ("", "451 busy", Outcome.LATER),
            ("", "421 closing", Outcome.LATER),
            ("", "drop", Outcome.UNKNOWN),
            ("", "299 what?", Outcome.UNKNOWN),
        ],
    )
    async def test_answers(
        self,
        inbox: Inbox,
        transport: SmtpTransport,
        at_rcpt: str,
        at_data: str,
        outcome: Outcome,
    ) -> None:
        inbox.at_rcpt += [at_rcpt] if at_rcpt else []
        inbox.at_data += [at_data] if at_data else []
        delivery = await transport.send(_message(), before_data=_yes)
        assert delivery.outcome is outcome
        assert delivery.reason and "\n" not in delivery.reason
        inbox.messages.clear()
        # The next one is none the worse for it.
        assert await _send(transport) is Outcome.SENT
        assert len(inbox.messages) == 1

    async def test_keeps_back(
        self, inbox: Inbox, transport: SmtpTransport
    ) -> None:
        delivery = await transport.send(_message(), before_data=_no)
        assert delivery.outcome is Outcome.WITHHELD
        assert inbox.messages == []
        assert await _send(transport) is Outcome.SENT
        assert (inbox.connections, len(inbox.messages)) == (1, 1)

    async def test_nobody_listens(self) -> None:
        async with mail_server() as inbox:
            transport = inbox.transport()
        assert await _send(transport) is Outcome.LATER
        await transport.aclose()

    async def test_addresses_beyond_ascii(self) -> None:
        message = _message("josé@example.org")
        async with mail_server(enable_SMTPUTF8=True) as inbox:
            transport = inbox.transport()
            assert await _send(transport, message) is Outcome.SENT
            assert inbox.recipients == ["josé@example.org"]
            await transport.aclose()
        async with mail_server() as inbox:
            transport = inbox.transport()
            assert await _send(transport, message) is Outcome.REFUSED
            assert await _send(transport) is Outcome.SENT
            await transport.aclose()


class TestLogin:
    @pytest.mark.parametrize(
        ("login", "outcome"),
        [
            (LOGIN, Outcome.SENT),
            # Not for good: an operator can correct it.
            ("muster:wrong", Outcome.LATER),
        ],
    )
    async def test_password(self, login: str, outcome: Outcome) -> None:
        async with mail_server(
            auth_required=True, auth_require_tls=False
        ) as inbox:
            url = f"smtp://{login}@{HOST}:{inbox.port}"
            transport = inbox.transport(url)
            assert await _send(transport) is outcome
            await transport.aclose()

    async def test_missing(self) -> None:
        async with mail_server(
            auth_required=True, auth_require_tls=False
        ) as inbox:
            transport = inbox.transport()
            assert await _send(transport) is Outcome.LATER
            await transport.aclose()

    async def test_password_never_crosses_a_network_in_the_clear(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("config.mail._LOCAL", ())
        async with mail_server(auth_require_tls=False) as inbox:
            url = f"smtp://{LOGIN}@{HOST}:{inbox.port}"
            transport = inbox.transport(url)
            assert await _send(transport) is Outcome.LATER
            await transport.aclose()
            assert inbox.passwords == []


@pytest.fixture(name="tls")
def _tls(tmp_path: Path) -> ssl.SSLContext:
    """A server's certificate, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address(HOST))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = tmp_path / "server.pem"
    path.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.fixture(name="trusted")
def _trusted(
    tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ssl.SSLContext:
    """The same, and we trust it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    return tls


class TestTls:
    async def test_starttls(self, trusted: ssl.SSLContext) -> None:
        async with mail_server(
            tls_context=trusted, require_starttls=True, auth_required=True
        ) as inbox:
            url = f"smtp://{LOGIN}@{HOST}:{inbox.port}"
            transport = inbox.transport(url)
            assert await _send(transport) is Outcome.SENT
            await transport.aclose()

    async def test_smtps(self, trusted: ssl.SSLContext) -> None:
        async with mail_server(smtps=trusted) as inbox:
            transport = inbox.transport(f"smtps://{HOST}:{inbox.port}")
            assert await _send(transport) is Outcome.SENT
            await transport.aclose()

    @pytest.mark.parametrize("scheme", ["smtp", "smtps"])
    async def test_stranger(self, tls: ssl.SSLContext, scheme: str) -> None:
        """A certificate that nobody vouches for."""
        async with mail_server(
            smtps=tls if scheme == "smtps" else None,
            tls_context=None if scheme == "smtps" else tls,
        ) as inbox:
            transport = inbox.transport(f"{scheme}://{HOST}:{inbox.port}")
            assert await _send(transport) is Outcome.LATER
            await transport.aclose()
            assert inbox.messages == []


class TestFiles:
    async def test_one_file_a_message(self, tmp_path: Path) -> None:
        folder = tmp_path / "mail"
        transport = FileTransport(folder)
        message = _message(text="Zoë: 欢迎\n")
        for _ in range(2):
            delivery = await transport.send(message, before_data=_no)
            assert delivery.outcome is Outcome.SENT
        (path,) = folder.iterdir()
        assert path.name.endswith(".eml") and path.stem in message["Message-ID"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        # To be read with the eye, too.
        assert "Zoë: 欢迎" in path.read_text("utf-8")
        assert text_of(parse(path.read_bytes())) == "Zoë: 欢迎\n"

    async def test_no_room(self, tmp_path: Path) -> None:
        (tmp_path / "mail").touch()
        transport = FileTransport(tmp_path / "mail")
        delivery = await transport.send(_message(), before_data=_yes)
        assert delivery.outcome is Outcome.LATER


class TestChoice:
    def test_by_settings(self) -> None:
        assert isinstance(transport_of(Settings()), FileTransport)
        smtp = Settings.model_validate({"smtp_url": "smtp://localhost"})
        assert isinstance(transport_of(smtp), SmtpTransport)

    def test_operators_are_warned_of_files(self) -> None:
        staging = {"environment": "staging", "jwt_secret_key": new_id() * 2}
        files = Settings.model_validate(staging)
        assert "SMTP_URL" in str(warning_of(files))
        smtp = Settings.model_validate(
            staging | {"smtp_url": "smtp://localhost"}
        )
        assert warning_of(smtp) is None
        assert warning_of(Settings()) is None
