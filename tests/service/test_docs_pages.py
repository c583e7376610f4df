"""/docs and /redoc in a real browser: offline, under their policy, usable."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Page, Request, sync_playwright

from tests import factories
from tests.service.serving import ADMIN, Served, served

pytestmark = pytest.mark.service

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None and os.environ.get("CI") != "true":
    pytest.skip("needs Debian's chromium on PATH", allow_module_level=True)


@pytest.fixture(name="muster", scope="module")
def _muster() -> Iterator[Served]:
    with served() as muster:
        yield muster


@pytest.fixture(name="guarded", scope="module")
def _guarded() -> Iterator[Served]:
    with served(DOCS_ACCESS="admin") as muster:
        yield muster


@pytest.fixture(name="page")
def _page(muster: Served) -> Iterator[Page]:
    with opened(muster) as page:
        yield page


@contextmanager
def opened(muster: Served, **context: Any) -> Iterator[Page]:
    """A page that fails the test when it asks elsewhere, or complains."""
    strangers: list[str] = []
    complaints: list[str] = []

    def on_request(request: Request) -> None:
        if not request.url.startswith((muster.base_url, "data:", "blob:")):
            strangers.append(request.url)

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        page = browser.new_page(
            viewport={"width": 1280, "height": 1400}, **context
        )
        page.on("request", on_request)
        page.on("console", on_console)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        try:
            yield page
        finally:
            browser.close()
    assert not strangers
    assert not complaints


def test_swagger_logs_in_and_calls(muster: Served, page: Page) -> None:
    email = muster.register()
    page.goto(f"{muster.base_url}/docs")
    page.get_by_role("button", name="Authorize").first.click()
    # One of several ways to show who calls.
    dialog = page.locator(".modal-ux .auth-container").filter(
        has=page.locator("#oauth_username")
    )
    dialog.locator("#oauth_username").fill(email)
    dialog.locator("#oauth_password").fill(factories.PASSWORD)
    dialog.locator("button.authorize").click()
    page.get_by_role("button", name="Remove authorization").wait_for()
    page.locator(".modal-ux .close-modal").click()
    operation = page.locator("#operations-Users-get_own_user_v1_users_me_get")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table .highlight-code").first
    answer.wait_for()
    assert email in answer.inner_text()


@pytest.mark.long
def test_swagger_shows_every_error_of_an_endpoint(
    muster: Served, page: Page
) -> None:
    page.goto(f"{muster.base_url}/docs")
    operation = page.locator("#operations-Events-update_event_v1_events__event_id__patch")  # fmt: skip # pylint: disable=line-too-long
    operation.locator(".opblock-summary-control").click()
    operation.locator(".responses-table").wait_for()
    statuses = operation.locator(".response-col_status").all_inner_texts()
    for status in (200, 401, 403, 404, 409, 412, 413, 415, 422, 503):
        assert str(status) in " ".join(statuses)


def test_redoc_shows_everything(muster: Served, page: Page) -> None:
    page.goto(f"{muster.base_url}/redoc")
    page.get_by_role("heading", name="Change an event").first.wait_for()
    for heading in ("Log in", "Register", "Find events", "Approve an event"):
        assert page.get_by_role("heading", name=heading).count() > 0


def test_an_admin_opens_guarded_docs(guarded: Served) -> None:
    """By e-mail and password, as the browser asks for them."""
    admin = {"username": ADMIN, "password": factories.PASSWORD}
    with opened(guarded, http_credentials=admin) as page:
        page.goto(f"{guarded.base_url}/redoc")
        page.get_by_role("heading", name="Change an event").first.wait_for()
        page.goto(f"{guarded.base_url}/docs")
        operation = page.locator("#operations-Service-get_service__get")
        operation.locator(".opblock-summary-control").click()
        operation.get_by_role("button", name="Try it out").click()
        with page.expect_response(f"{guarded.base_url}/") as call:
            operation.get_by_role("button", name="Execute").click()
        assert call.value.status == 200
        # The password opens the docs, and goes nowhere else.
        assert call.value.request.header_value("authorization") is None
