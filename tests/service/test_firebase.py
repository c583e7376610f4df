"""Signing in by Firebase where only the settings say so."""

import httpx
import pytest

from tests import firebase
from tests.service.serving import served

pytestmark = pytest.mark.service


def test_sign_in() -> None:
    with (
        firebase.key_server() as server,
        served(
            FIREBASE_PROJECT_ID=firebase.PROJECT, FIREBASE_KEYS_URL=server.url
        ) as muster,
    ):
        for _ in range(2):
            response = httpx.post(
                f"{muster.base_url}/v1/auth/firebase",
                json={"id_token": firebase.id_token()},
                trust_env=False,
            )
            assert response.status_code == 200, response.text
            assert response.json()["token_type"] == "bearer"
        assert server.fetches == 1
