"""Setting values: what a setting means that is more than a word or a number."""

import re
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Self
from urllib.parse import unquote, urlsplit

# With and without TLS.
BROKER_SCHEMES = ("redis", "rediss", "amqp", "amqps", "nats", "tls")

# Names of devices go into an environment, and into an orchestrator's lists.
_GPU = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.:-]{0,63})=([^=/]+)/([1-9]\d{0,8})")
_RATE = re.compile(r"([1-9]\d{0,8})/([1-9]\d{0,6})")
_HOST = re.compile(r"\*|(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\]")
_ORIGIN = re.compile(r"https?://(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?")


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests are admitted in each period.

    Attributes:
        limit: the requests.
        period_seconds: the period.
    """

    limit: int
    period_seconds: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `requests/seconds`.

        Raises:
            ValueError: it is none.
        """
        found = _RATE.fullmatch(text.strip())
        if found is None:
            raise ValueError("it must be requests/seconds, such as 300/60")
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class ListedGpu:
    """A GPU that an operator lists.

    Attributes:
        id: the device's own id.
        name: what its maker calls it.
        memory_mb: its memory, MiB.
    """

    id: str
    name: str
    memory_mb: int

    @classmethod
    def parse_all(cls, text: str) -> tuple[Self, ...]:
        """Reads `id=name/MiB` of each, separated by commas.

        Raises:
            ValueError: one is none, or an id stands there twice.
        """
        listed = []
        for part in parts_of(text):
            found = _GPU.fullmatch(part)
            if found is None:
                raise ValueError(
                    f"{part} is no GPU: write id=name/MiB, such as "
                    "GPU-5c1f=A100/40960"
                )
            listed.append(cls(found[1], found[2].strip(), int(found[3])))
        if len({gpu.id for gpu in listed}) < len(listed):
            raise ValueError("each GPU has an id of its own")
        return tuple(listed)


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed over.

    Attributes:
        host: its name or address.
        port: its TCP port.
        tls: whether the connection begins encrypted; else STARTTLS is used
            where it is offered.
        username: whom to log in as; None for a server that asks nobody.
        password: of that user.
    """

    host: str
    port: int
    tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Reads `smtp://[user:password@]host[:port]`, or `smtps://…`.

        Raises:
            ValueError: it is none; the message never holds the password.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError(_SMTP_HINT) from None
        more = parts.path.strip("/") or parts.query or parts.fragment
        if parts.scheme not in _SMTP_PORTS or not host or port == 0 or more:
            raise ValueError(_SMTP_HINT)
        username, password = parts.username, parts.password
        if (username is None) != (password is None):
            raise ValueError(_SMTP_HINT)
        return cls(
            host=host,
            port=port or _SMTP_PORTS[parts.scheme],
            tls=parts.scheme == "smtps",
            username=None if username is None else unquote(username),
            password=None if password is None else unquote(password),
        )


_SMTP_PORTS = {"smtp": 587, "smtps": 465}
_SMTP_HINT = (
    "SMTP_URL must be smtp://user:password@host:587 or "
    "smtps://user:password@host:465; a server may need neither user nor "
    "password, and both are written with %40 for @"
)


def parts_of(text: str) -> tuple[str, ...]:
    """The parts of a list that commas separate."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def require_host(text: str) -> None:
    """Checks that a text names a host, or all below one, or all.

    Raises:
        ValueError: it does not, such as an address with a scheme or a port.
    """
    if not _HOST.fullmatch(text.lower()):
        raise ValueError(
            f"{text} is no host: write muster.example.org, *.example.org for "
            "all names below that one, or * for all"
        )


def require_origin(text: str) -> None:
    """Checks that a text is an origin, a wildcard for subdomains included.

    Raises:
        ValueError: it is none; `*`, which would allow every page, is none.
    """
    if not _ORIGIN.fullmatch(text):
        raise ValueError(
            f"{text} is no origin: write https://app.example.org, or "
            "https://*.example.org for all subdomains"
        )


def require_broker(url: str) -> None:
    """Checks that a URL is of a broker that Muster knows.

    Raises:
        ValueError: it is none; the message never holds the password.
    """
    if urlsplit(url).scheme not in BROKER_SCHEMES:
        raise ValueError("it must begin with redis://, amqp:// or nats://")


def one_address(text: str) -> Address:
    """The only address in `text`.

    Raises:
        ValueError: there is none, or more than that.
    """
    hint = "MAIL_FROM must be an address, such as Muster <muster@example.org>"
    message = EmailMessage(policy=SMTP)
    try:
        message["From"] = text
    except (ValueError, IndexError):
        raise ValueError(hint) from None
    found = message["From"]
    if found.defects or len(found.addresses) != 1:
        raise ValueError(hint)
    address: Address = found.addresses[0]
    if not address.username or not address.domain or not text.isprintable():
        raise ValueError(hint)
    if not address.addr_spec.isascii():
        raise ValueError(hint)
    return address
