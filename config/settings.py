"""Settings: read once from the environment or `.env`, checked at start."""

import os
import secrets
import sys
import tempfile
from contextlib import suppress
from email.headerregistry import Address
from enum import StrEnum
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from config.setting_values import (
    ListedGpu,
    Rate,
    SmtpServer,
    one_address,
    parts_of,
    require_broker,
    require_host,
    require_origin,
)

JWT_SECRET_BYTES = 32

# Words that stand in examples and tutorials; a secret that holds one of them
# was copied, not made.
_PLACEHOLDERS = ("changeme", "change-me", "secret", "password", "example")


class SettingsError(Exception):
    """Settings that Muster can't start with; the message is one line."""


class Environment(StrEnum):
    """Where this process runs; strictness follows from it."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class DocsAccess(StrEnum):
    """Who may open `/docs`, `/redoc` and `/openapi.json`."""

    PUBLIC = "public"
    ADMIN = "admin"
    OFF = "off"


class LogFormat(StrEnum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"


class TaskWorker(StrEnum):
    """Who runs the tasks of the queue."""

    INLINE = "inline"
    SEPARATE = "separate"


class SessionEngine(StrEnum):
    """What runs the containers of sessions."""

    AUTO = "auto"
    DOCKER = "docker"
    SWARM = "swarm"
    OFF = "off"


class OnStoreLoss(StrEnum):
    """What happens to requests while nobody can count them."""

    OPEN = "open"
    CLOSED = "closed"


class Settings(BaseSettings):
    """All that an operator can set; names are the environment's, lower case."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    environment: Environment = Field(
        Environment.DEVELOPMENT,
        description="Outside development, defaults that are handy but unsafe "
        "are refused.",
    )
    mongo_db_uri: SecretStr | None = Field(
        None,
        description="Address of MongoDB; unset starts the embedded database.",
    )
    mongo_db_name: str = Field(
        "muster",
        pattern=r"^[A-Za-z0-9_-]{1,38}$",
        description="Name of the database on that server.",
    )
    allow_embedded_db: bool = Field(
        False,
        description="Lets the embedded database serve in production.",
    )
    jwt_secret_key: SecretStr | None = Field(
        None,
        description="Key of the access tokens' signatures, 32 bytes or more; "
        "in development one is made and kept in DATA_DIR.",
    )
    data_dir: Path = Field(
        Path(".muster"),
        description="Folder of the embedded database and of what development "
        "makes by itself.",
    )
    port: int = Field(
        8000, ge=1, le=65535, description="TCP port that `run.sh` serves on."
    )
    bind_address: str = Field(
        "0.0.0.0",
        description="Address that `run.sh` serves on; 127.0.0.1 where a proxy "
        "on the same machine is in front.",
    )
    web_concurrency: int = Field(
        4, ge=1, le=256, description="Number of worker processes."
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks, separated by commas, whose "
        "X-Forwarded-For tells the client's address.",
    )
    docs_access: DocsAccess | None = Field(
        None,
        description="Who may read the API docs: public, admin or off; public "
        "in development and admin elsewhere when unset.",
    )
    access_token_minutes: int = Field(
        15, ge=1, le=24 * 60, description="Life of an access token, minutes."
    )
    refresh_token_days: int = Field(
        30,
        ge=1,
        le=366,
        description="Life of a login that is not refreshed, days.",
    )

    smtp_url: SecretStr | None = Field(
        None,
        description="Server that takes mail, such as "
        "smtp://user:password@host:587 or smtps://…:465; unset writes mail "
        "to DATA_DIR/mail.",
    )
    mail_from: str = Field(
        "Muster <muster@localhost>",
        description="Whom mail comes from: an address, or a name with one.",
    )
    frontend_url: str | None = Field(
        None,
        description="Where the community's own pages are, which mail links "
        "to; unset, a mail shows its token and the call to make.",
    )
    public_url: str | None = Field(
        None,
        description="Where clients reach Muster, which addresses in answers "
        "begin with; unset, they begin with what the request was sent to.",
    )

    session_engine: SessionEngine = Field(
        SessionEngine.AUTO,
        description="What runs sessions: docker, swarm, off; auto takes Docker "
        "where it answers.",
    )
    docker_host: str = Field(
        "unix:///var/run/docker.sock",
        description="Where the Docker Engine answers: unix:///… or tcp://….",
    )
    session_gpus: str = Field(
        "",
        description="GPUs of a machine without NVML, separated by commas, each "
        "id=name/MiB, such as GPU-5c1f=A100/40960; set, NVML is not asked.",
    )
    session_address: str = Field(
        "127.0.0.1",
        description="Address of the engine's machine that ports of sessions "
        "are published on.",
    )
    session_subnets: str = Field(
        "10.213.0.0/16",
        description="Addresses that the networks of sessions are cut from, 16 "
        "for each; no other network may use them.",
    )
    session_label: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]{1,63}$",
        description="Names this Muster on an engine that others use as well; "
        "unset: MONGO_DB_NAME.",
    )
    session_max: int = Field(
        2,
        ge=1,
        description="Sessions of a member at the same time, unless their tier "
        "says otherwise.",
    )
    session_gpu_hours_per_week: float = Field(
        40,
        gt=0,
        description="GPU-hours of a member in seven days, unless their tier "
        "says otherwise.",
    )
    session_start_seconds: int = Field(
        120,
        ge=1,
        description="A session whose port does not answer by then has failed.",
    )
    session_warning_minutes: int = Field(
        15,
        ge=1,
        description="So long before its end a session's owner is warned.",
    )
    session_offer_minutes: int = Field(
        10,
        ge=1,
        description="So long GPUs are kept for the first in line.",
    )

    allowed_hosts: str | None = Field(
        None,
        description="Names, separated by commas, that requests may be sent "
        "to, such as muster.example.org or *.example.org; unset allows all "
        "in development, and elsewhere the host of PUBLIC_URL.",
    )
    cors_origins: str = Field(
        "",
        description="Origins, separated by commas, whose pages may call "
        "Muster, such as https://app.example.org or https://*.example.org.",
    )
    api_key: SecretStr | None = Field(
        None,
        min_length=16,
        description="When set, every call needs it, or a member's own key, "
        "by header or cookie.",
    )
    api_key_name: str = Field(
        "X-API-Key",
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="Name of the header and of the cookie of API keys.",
    )
    rate_limit_anonymous: str = Field(
        "300/60",
        description="Requests / seconds of an address that is not signed in.",
    )
    rate_limit_default: str = Field(
        "1200/60",
        description="Requests / seconds of a member whose tier says nothing.",
    )
    rate_limit_on_store_loss: OnStoreLoss = Field(
        OnStoreLoss.OPEN,
        description="While requests can't be counted: open admits them, "
        "closed refuses them with 503.",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Redis, such as redis://:password@host:6379/0, for rate "
        "limits and cache invalidation over several machines.",
    )

    task_broker_url: SecretStr | None = Field(
        None,
        description="What carries tasks to workers: redis://, amqp:// or "
        "nats://; unset, they look into MongoDB, which keeps all tasks anyway.",
    )
    task_worker: TaskWorker = Field(
        TaskWorker.INLINE,
        description="inline: web processes run tasks too; separate: only "
        "`sh run.sh worker` does.",
    )
    task_slots: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Tasks that a process runs at once; unset: 1 in a web "
        "process, one for each processor in a worker.",
    )
    task_result_days: int = Field(
        7,
        ge=1,
        le=366,
        description="How long a task that is over is kept, with its result.",
    )
    task_queued_max: int = Field(
        1_000, ge=1, description="Tasks of a member that may wait."
    )
    task_running_max: int = Field(
        4, ge=1, description="Tasks of a member that run at the same time."
    )
    max_array_mb: int = Field(
        256,
        ge=1,
        le=64 * 1024,
        description="Megabytes of the arrays of one submission, unpacked.",
    )
    task_stored_max: int = Field(
        10_000, ge=1, description="Tasks of a member that are kept."
    )
    task_stored_mb_max: int = Field(
        2_048,
        ge=1,
        description="Megabytes that a member's arguments and results take.",
    )
    short_form_anonymous: bool | None = Field(
        None,
        description="Whether strangers may use POST /process_np_array; unset, "
        "in development only.",
    )

    http_events_max: int = Field(
        50,
        ge=0,
        le=10_000,
        description="How many of the last requests are kept to be looked at.",
    )
    http_events_trace: bool = Field(
        False,
        description="Notes the tree of calls of every request, which makes "
        "each one much slower.",
    )
    metrics_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Bearer token of /metrics; without one it is open in "
        "development and closed elsewhere.",
    )
    log_format: LogFormat | None = Field(
        None,
        description="text or json; text in development and json elsewhere "
        "when unset.",
    )
    log_file: Path | None = Field(
        None,
        description="Where log lines go beside stderr; 5 files of 10 MB are "
        "kept.",
    )
    log_requests: bool = Field(
        True,
        description="Writes a line for every request; off where a proxy does.",
    )
    firebase_project_id: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]{4,64}$",
        description="Project whose ID tokens sign members in.",
    )
    firebase_keys_url: str = Field(
        "https://www.googleapis.com/service_accounts/v1/jwk/"
        "securetoken@system.gserviceaccount.com",
        description="Where the public keys of Firebase's tokens are, as JWKs.",
    )

    model_cache_mb: int = Field(
        512,
        ge=0,
        le=1_000_000,
        description="What the models of one task runner may take together, "
        "megabytes; those that were used longest ago leave.",
    )
    warm_models: str = Field(
        "",
        description="Models, separated by commas, that a task runner loads "
        "before its first task, such as digits.",
    )

    @property
    def bound_to(self) -> str:
        """BIND_ADDRESS and PORT, as servers are told them."""
        if ":" in self.bind_address:
            return f"[{self.bind_address}]:{self.port}"
        return f"{self.bind_address}:{self.port}"

    @property
    def models_to_warm(self) -> tuple[str, ...]:
        """What WARM_MODELS says."""
        return parts_of(self.warm_models)

    @property
    def listed_gpus(self) -> tuple[ListedGpu, ...]:
        """What SESSION_GPUS says."""
        return ListedGpu.parse_all(self.session_gpus)

    @property
    def sessions_named(self) -> str:
        """SESSION_LABEL, or what stands for it when it is unset."""
        return self.session_label or self.mongo_db_name

    @property
    def smtp_server(self) -> SmtpServer | None:
        """What SMTP_URL says; None where mail is written to files."""
        if self.smtp_url is None:
            return None
        return SmtpServer.parse(self.smtp_url.get_secret_value())

    @property
    def mail_sender(self) -> Address:
        """What MAIL_FROM says."""
        return one_address(self.mail_from)

    @property
    def service_key(self) -> str | None:
        """What API_KEY says."""
        return None if self.api_key is None else self.api_key.get_secret_value()

    @property
    def anonymous_rate(self) -> Rate:
        """What RATE_LIMIT_ANONYMOUS says."""
        return Rate.parse(self.rate_limit_anonymous)

    @property
    def default_rate(self) -> Rate:
        """What RATE_LIMIT_DEFAULT says."""
        return Rate.parse(self.rate_limit_default)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that requests may be sent to; `*` allows all."""
        if self.allowed_hosts is not None:
            return parts_of(self.allowed_hosts.lower())
        if self.in_development or self.public_url is None:
            return ("*",)
        return (str(urlsplit(self.public_url).hostname),)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins whose pages may call Muster."""
        return parts_of(self.cors_origins)

    @property
    def max_array_bytes(self) -> int:
        """MAX_ARRAY_MB in bytes."""
        return self.max_array_mb * 1024 * 1024

    @property
    def strangers_compute(self) -> bool:
        """SHORT_FORM_ANONYMOUS, or what the environment implies."""
        if self.short_form_anonymous is not None:
            return self.short_form_anonymous
        return self.in_development

    @property
    def log_lines(self) -> LogFormat:
        """LOG_FORMAT, or what the environment implies when it is unset."""
        if self.log_format is not None:
            return self.log_format
        return LogFormat.TEXT if self.in_development else LogFormat.JSON

    @property
    def in_development(self) -> bool:
        """True where conveniences are worth more than strictness."""
        return self.environment is Environment.DEVELOPMENT

    @property
    def docs_open_to(self) -> DocsAccess:
        """DOCS_ACCESS, or what the environment implies when it is unset."""
        if self.docs_access is not None:
            return self.docs_access
        return DocsAccess.PUBLIC if self.in_development else DocsAccess.ADMIN

    @model_validator(mode="after")
    def _check_database(self) -> Self:
        if self.mongo_db_uri is not None:
            uri = self.mongo_db_uri.get_secret_value()
            if not uri.startswith(("mongodb://", "mongodb+srv://")):
                raise ValueError(
                    "MONGO_DB_URI must begin with mongodb:// or mongodb+srv://"
                )
        elif (
            self.environment is Environment.PRODUCTION
            and not self.allow_embedded_db
        ):
            raise ValueError(
                "MONGO_DB_URI is required in production (or set "
                "ALLOW_EMBEDDED_DB=true to serve from the embedded database)"
            )
        return self

    @model_validator(mode="after")
    def _check_mail(self) -> Self:
        if self.smtp_url is not None:
            SmtpServer.parse(self.smtp_url.get_secret_value())
        one_address(self.mail_from)
        return self

    @field_validator("rate_limit_anonymous", "rate_limit_default")
    @classmethod
    def _check_rate(cls, text: str) -> str:
        Rate.parse(text)
        return text

    @field_validator("session_gpus")
    @classmethod
    def _check_gpus(cls, text: str) -> str:
        ListedGpu.parse_all(text)
        return text

    @field_validator("docker_host")
    @classmethod
    def _check_docker_host(cls, url: str) -> str:
        if not url.startswith(("unix:///", "tcp://", "http://", "https://")):
            raise ValueError("it must begin with unix:///, tcp:// or https://")
        return url

    @field_validator("bind_address")
    @classmethod
    def _check_bind_address(cls, text: str) -> str:
        return str(ip_address(text))

    @field_validator("session_address")
    @classmethod
    def _check_address(cls, text: str) -> str:
        # Muster itself goes there, too: an address for all won't do.
        if ip_address(text).is_unspecified:
            raise ValueError("it must be one address of the engine's machine")
        return text

    @field_validator("session_subnets")
    @classmethod
    def _check_subnets(cls, text: str) -> str:
        if IPv4Network(text).prefixlen > 28:
            raise ValueError("it must hold 16 addresses or more, as …/28 does")
        return text

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, text: str | None) -> str | None:
        for host in parts_of(text or ""):
            require_host(host)
        return text

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, text: str) -> str:
        for origin in parts_of(text):
            require_origin(origin)
        return text

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, url: SecretStr | None) -> SecretStr | None:
        schemes = ("redis://", "rediss://", "unix://")
        if url and not url.get_secret_value().startswith(schemes):
            raise ValueError("it must begin with redis://, rediss:// or unix:")
        return url

    @field_validator("task_broker_url")
    @classmethod
    def _check_broker(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            require_broker(url.get_secret_value())
        return url

    @field_validator("frontend_url", "public_url")
    @classmethod
    def _check_site(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValueError(_SITE_HINT) from None
        fits = parts.scheme in ("http", "https") and parts.netloc
        if not fits or parts.query or parts.fragment or len(url.split()) != 1:
            raise ValueError(_SITE_HINT)
        return url.rstrip("/")

    @model_validator(mode="after")
    def _check_jwt_secret(self) -> Self:
        if self.jwt_secret_key is None:
            if not self.in_development:
                raise ValueError(
                    "JWT_SECRET_KEY is required outside development: set it "
                    "to 32 random bytes or more, e.g. from `openssl rand "
                    "-base64 48`"
                )
            return self
        secret = self.jwt_secret_key.get_secret_value()
        if len(secret.encode()) < JWT_SECRET_BYTES:
            raise ValueError("JWT_SECRET_KEY must have 32 bytes or more")
        if not self.in_development and (
            len(set(secret)) < 10
            or any(word in secret.lower() for word in _PLACEHOLDERS)
        ):
            raise ValueError(
                "JWT_SECRET_KEY is a placeholder: set it to random bytes, "
                "e.g. from `openssl rand -base64 48`"
            )
        return self

    def signing_key(self) -> str:
        """The key of access tokens; made once in DATA_DIR in development."""
        if self.jwt_secret_key is not None:
            return self.jwt_secret_key.get_secret_value()
        return _kept_secret(self.data_dir / "jwt_secret_key")


_SITE_HINT = (
    "it must be the address of a site, such as https://community.example.org"
)


def load_settings() -> Settings:
    """Reads the settings, and makes the signing key where none is set.

    Raises:
        SettingsError: one line that names each bad setting.
    """
    try:
        settings = Settings()
        settings.signing_key()
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from error
    except OSError as error:
        raise SettingsError(f"DATA_DIR can't be used: {error}") from error
    return settings


def load_settings_or_exit() -> Settings:
    """Reads the settings, or ends the process with one line on stderr."""
    try:
        return load_settings()
    except SettingsError as error:
        sys.exit(f"muster: {error}")


def _one_line(error: ValidationError) -> str:
    faults = []
    for fault in error.errors(include_input=False, include_url=False):
        message = fault["msg"].removeprefix("Value error, ")
        name = "_".join(str(part) for part in fault["loc"]).upper()
        faults.append(f"{name}: {message}" if name else message)
    return "; ".join(faults)


def _kept_secret(path: Path) -> str:
    """Reads the secret in `path`, which one of the first processes writes.

    A hard link fails when the name exists, so that of several workers that
    start at once exactly one secret is kept, and it is never seen half written.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
        os.unlink(draft)
    secret = path.read_text(encoding="ascii")
    if len(secret) < JWT_SECRET_BYTES:
        raise OSError(f"{path} is no key: remove it, and a new one is made")
    return secret
