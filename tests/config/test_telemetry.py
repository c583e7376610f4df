"""Telemetry: which variables turn it on."""

import subprocess
import sys

import pytest

from config.telemetry import complete, is_wanted

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
EXPORTER = "OTEL_TRACES_EXPORTER"
URL = "http://collector:4318"


class TestIsWanted:
    @pytest.mark.parametrize(
        "variables",
        [
            {ENDPOINT: URL},
            {TRACES_ENDPOINT: f"{URL}/v1/traces"},
            {EXPORTER: "otlp"},
            {ENDPOINT: URL, "OTEL_SDK_DISABLED": "false"},
        ],
    )
    def test_yes(self, variables: dict[str, str]) -> None:
        assert is_wanted(variables)

    @pytest.mark.parametrize(
        "variables",
        [
            {},
            {ENDPOINT: ""},
            {EXPORTER: "none", ENDPOINT: URL},
            {ENDPOINT: URL, "OTEL_SDK_DISABLED": "true"},
            {"OTEL_SERVICE_NAME": "muster"},
        ],
    )
    def test_no(self, variables: dict[str, str]) -> None:
        assert not is_wanted(variables)


class TestComplete:
    def test_adds_what_is_usual(self) -> None:
        variables = {EXPORTER: "otlp"}
        complete(variables)
        assert variables[ENDPOINT] == "http://localhost:4318"
        assert variables["OTEL_SERVICE_NAME"] == "muster"

    def test_keeps_what_is_said(self) -> None:
        said = {
            TRACES_ENDPOINT: URL,
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=club",
        }
        variables = dict(said)
        complete(variables)
        assert variables == said


def test_without_it_nothing_is_imported() -> None:
    code = (
        "import sys, app; found = [name for name in sys.modules if "
        "name.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exp'))]; "
        "sys.exit(str(found) if found else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
