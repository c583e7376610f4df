"""Settings: defaults, and one line for each bad one."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config.setting_values import SmtpServer
from config.settings import (
    DocsAccess,
    Settings,
    SettingsError,
    load_settings,
    load_settings_or_exit,
)

LONG = "k9Zq-" * 8 + "Wc7xTn2LmP0"
NAMES = [name.upper() for name in Settings.__pydantic_fields__]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_defaults() -> None:
    settings = load_settings()
    assert settings.in_development
    assert settings.mongo_db_uri is None
    assert settings.mongo_db_name == "muster"
    assert (settings.port, settings.web_concurrency) == (8000, 4)
    assert settings.data_dir == Path(".muster")
    assert settings.access_token_minutes == 15
    assert settings.refresh_token_days == 30
    assert settings.docs_open_to is DocsAccess.PUBLIC


def test_every_setting_has_a_sentence() -> None:
    for name, field in Settings.model_fields.items():
        assert str(field.description).endswith("."), name


def test_dot_env_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PORT=9000\nWEB_CONCURRENCY=2\nOTHER=1\n", "utf-8")
    monkeypatch.setenv("PORT", "9001")
    monkeypatch.setenv("WEB_CONCURRENCY", "")
    settings = load_settings()
    # The environment goes before the file, but an empty value is none.
    assert settings.port == 9001
    assert settings.web_concurrency == 2


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"PORT": "abc"}, "PORT"),
        ({"PORT": "0"}, "PORT"),
        ({"SESSION_GPUS": "GPU-1"}, "SESSION_GPUS"),
        ({"SESSION_GPUS": "a=A100/40960,a=A100/40960"}, "SESSION_GPUS"),
        ({"SESSION_ADDRESS": "0.0.0.0"}, "SESSION_ADDRESS"),
        ({"SESSION_ADDRESS": "here"}, "SESSION_ADDRESS"),
        ({"SESSION_SUBNETS": "10.0.0.0/29"}, "SESSION_SUBNETS"),
        ({"DOCKER_HOST": "/var/run/docker.sock"}, "DOCKER_HOST"),
        ({"BIND_ADDRESS": "localhost"}, "BIND_ADDRESS"),
        ({"DATA_DIR": "/proc/nowhere"}, "DATA_DIR"),
        ({"ENVIRONMENT": "prod"}, "ENVIRONMENT"),
        ({"MONGO_DB_URI": "postgres://x"}, "MONGO_DB_URI"),
        ({"MONGO_DB_NAME": "a.b"}, "MONGO_DB_NAME"),
        ({"JWT_SECRET_KEY": "short"}, "JWT_SECRET_KEY"),
        ({"ACCESS_TOKEN_MINUTES": "-1"}, "ACCESS_TOKEN_MINUTES"),
        ({"DOCS_ACCESS": "nobody"}, "DOCS_ACCESS"),
        ({"SMTP_URL": "mail.example.org:25"}, "SMTP_URL"),
        ({"SMTP_URL": "http://a:hidden1@example.org"}, "SMTP_URL"),
        ({"SMTP_URL": "smtp://a:hidden1@:587"}, "SMTP_URL"),
        ({"SMTP_URL": "smtp://a:hidden1@host:99999"}, "SMTP_URL"),
        ({"SMTP_URL": "smtp://a:hidden1@host/path"}, "SMTP_URL"),
        ({"SMTP_URL": "smtp://a:hid/den1@host"}, "SMTP_URL"),
        ({"SMTP_URL": "smtp://a@host"}, "SMTP_URL"),
        ({"MAIL_FROM": "Muster"}, "MAIL_FROM"),
        ({"MAIL_FROM": "a@example.org, b@example.org"}, "MAIL_FROM"),
        ({"MAIL_FROM": "a@example.org\r\nBcc: b@example.org"}, "MAIL_FROM"),
        ({"MAIL_FROM": "<>"}, "MAIL_FROM"),
        ({"FRONTEND_URL": "example.org"}, "FRONTEND_URL"),
        ({"FRONTEND_URL": "https://example.org/#/"}, "FRONTEND_URL"),
        ({"FRONTEND_URL": "https://example.org/ x"}, "FRONTEND_URL"),
        ({"FRONTEND_URL": "javascript:alert(1)"}, "FRONTEND_URL"),
        ({"PUBLIC_URL": "muster.example.org"}, "PUBLIC_URL"),
        ({"PUBLIC_URL": "ftp://muster.example.org"}, "PUBLIC_URL"),
        ({"PUBLIC_URL": "https://muster.example.org/?x=1"}, "PUBLIC_URL"),
        ({"ALLOWED_HOSTS": "https://muster.example.org"}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "a.example.org,b.example.org:80"}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "a.*.example.org"}, "ALLOWED_HOSTS"),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://*"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "app.example.org"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://app.example.org/"}, "CORS_ORIGINS"),
        ({"ENVIRONMENT": "production", "JWT_SECRET_KEY": LONG}, "MONGO_DB_URI"),
        ({"ENVIRONMENT": "staging"}, "JWT_SECRET_KEY"),
        (
            {"ENVIRONMENT": "staging", "JWT_SECRET_KEY": "changeme" * 5},
            "JWT_SECRET_KEY",
        ),
        (
            {"ENVIRONMENT": "staging", "JWT_SECRET_KEY": "ab" * 20},
            "JWT_SECRET_KEY",
        ),
    ],
)
def test_bad_ones_are_named_in_one_line(
    environment: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    line = str(caught.value)
    assert named in line
    assert "\n" not in line
    assert "hidden1" not in line
    if "JWT_SECRET_KEY" in environment:
        assert environment["JWT_SECRET_KEY"] not in line
    with pytest.raises(SystemExit) as ended:
        load_settings_or_exit()
    assert ended.value.code == f"muster: {line}"


def test_production(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("JWT_SECRET_KEY", LONG)
    monkeypatch.setenv("ALLOW_EMBEDDED_DB", "true")
    settings = load_settings()
    assert settings.signing_key() == LONG
    assert settings.docs_open_to is DocsAccess.ADMIN
    assert LONG not in repr(settings)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://localhost", SmtpServer("localhost", 587, False)),
        ("smtp://[::1]:25/", SmtpServer("::1", 25, False)),
        (
            "smtps://ada%40x:p%2Fw%3A@mail.example.org",
            SmtpServer("mail.example.org", 465, True, "ada@x", "p/w:"),
        ),
    ],
)
def test_mail_server(
    url: str, server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_URL", url)
    settings = load_settings()
    assert settings.smtp_server == server
    assert "p/w:" not in repr(server) + repr(settings)


def test_mail_sender_and_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(load_settings().mail_sender) == "Muster <muster@localhost>"
    assert load_settings().smtp_server is None
    assert load_settings().frontend_url is None
    monkeypatch.setenv("MAIL_FROM", "hello@example.org")
    monkeypatch.setenv("FRONTEND_URL", "https://example.org/app/")
    settings = load_settings()
    assert settings.mail_sender.addr_spec == "hello@example.org"
    assert settings.frontend_url == "https://example.org/app"


def test_bound_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().bound_to == "0.0.0.0:8000"
    monkeypatch.setenv("BIND_ADDRESS", "::1")
    assert load_settings().bound_to == "[::1]:8000"


def test_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().public_url is None
    monkeypatch.setenv("PUBLIC_URL", "https://example.org/muster/")
    assert load_settings().public_url == "https://example.org/muster"


def test_damaged_development_key() -> None:
    """As a power cut may leave it: nothing is signed with an empty key."""
    path = load_settings().data_dir / "jwt_secret_key"
    path.write_text("", "ascii")
    with pytest.raises(SettingsError, match="jwt_secret_key"):
        load_settings()


def test_development_key_is_made_once() -> None:
    """Also by many at once, as workers start together."""
    settings = load_settings()
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: settings.signing_key(), range(32)))
    assert len(keys) == 1
    assert len(keys.pop()) >= 32
    path = settings.data_dir / "jwt_secret_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in settings.data_dir.iterdir()] == [path.name]
