"""A Firebase of the tests' own: RSA keys, tokens, a real server of keys."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jose import jwt

from app import app
from config.firebase import Firebase
from config.remote_keys import RemoteKeys
from models.base import new_id

PROJECT = "muster-tests"
ISSUER = f"https://securetoken.google.com/{PROJECT}"


@cache
def private_key(number: int = 0) -> str:
    """One of some RSA keys, as PEM; they take long to make."""
    del number  # It tells the keys apart.
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def public_pem(number: int = 0) -> str:
    """The public half of `private_key`."""
    return (
        _loaded(number)
        .public_key()
        .public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
        .decode()
    )


def public_jwk(key_id: str, number: int = 0) -> dict[str, str]:
    """The same, as a key server shows it."""
    numbers = _loaded(number).public_key().public_numbers()
    return {
        "kid": key_id,
        "kty": "RSA",
        "alg": "RS256",
        "use": "sig",
        "n": _base64(numbers.n),
        "e": _base64(numbers.e),
    }


def claims(**overrides: Any) -> dict[str, Any]:
    """What an ID token says of somebody new; None leaves a claim out."""
    now = int(time.time())
    said = {
        "iss": ISSUER,
        "aud": PROJECT,
        "sub": new_id(),
        "iat": now - 10,
        "auth_time": now - 10,
        "exp": now + 3600,
        "email": f"{new_id()}@example.org",
        "email_verified": True,
        "name": "Ada Lovelace",
        **overrides,
    }
    return {name: value for name, value in said.items() if value is not None}


def id_token(
    *, kid: str | None = "first", number: int = 0, **overrides: Any
) -> str:
    """An ID token, signed by one of the keys."""
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(
        claims(**overrides), private_key(number), "RS256", headers=headers
    )


@dataclass
class KeyServer:  # pylint: disable=too-many-instance-attributes  # Wishes.
    """Serves a JWK set, as it is told to."""

    keys: list[dict[str, str]] = field(
        default_factory=lambda: [public_jwk("first")]
    )
    cache_control: str = "public, max-age=3600"
    age: str | None = None
    status: int = 200
    body: bytes | None = None
    slow_seconds: float = 0.0
    fetches: int = 0
    url: str = ""


@contextmanager
def key_server() -> Iterator[KeyServer]:
    """A real server, on a port of its own, while the block runs."""
    told = KeyServer()

    class Handler(BaseHTTPRequestHandler):
        """Answers each GET with the keys."""

        # The base class says what it is called.
        def do_GET(self) -> None:  # pylint: disable=invalid-name
            """Answers."""
            told.fetches += 1
            time.sleep(told.slow_seconds)
            body = told.body or json.dumps({"keys": told.keys}).encode()
            self.send_response(told.status)
            self.send_header("Cache-Control", told.cache_control)
            if told.age is not None:
                self.send_header("Age", told.age)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        # The base class says what it is called.
        # pylint: disable-next=redefined-builtin
        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to say."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        thread.start()
        told.url = f"http://127.0.0.1:{server.server_port}/keys"
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def signing_in(
    keys: RemoteKeys, *, project_id: str | None = PROJECT
) -> Iterator[None]:
    """The app signs in by the tests' project while the block runs."""
    before = app.state.firebase
    app.state.firebase = Firebase(project_id, keys)
    try:
        yield
    finally:
        app.state.firebase = before


def _loaded(number: int) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(
        private_key(number).encode(), password=None
    )
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def _base64(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
