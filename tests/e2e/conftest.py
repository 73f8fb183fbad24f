"""A whole stack on the synthetic market, and a headless Chromium that people sign in to."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.stack import RunningStack

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PASSWORD = "a quiet harbour"
START_S = 120
PATIENCE_MS = 60_000  # what is waited for comes; how fast it comes on a loaded machine is no test's business
expect.set_options(timeout=PATIENCE_MS)
# Fixtures live as long as this package, not the session: an open browser keeps an event loop running in its thread,
# in which Django's ORM refuses to work for the tests that follow.


@pytest.fixture(scope="package")
def stack(chromium: str) -> Iterator[RunningStack]:
    """Start everything once; it is shared, so a test leaves it as it was."""
    with RunningStack("--market", "synthetic") as running:
        running.wait_ready(START_S)
        yield running


@pytest.fixture(scope="package")
def address(stack: RunningStack) -> str:
    """Return the web process's address."""
    return str(stack.status()["urls"]["web"])


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Any]:
    """Start Chromium once."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="package")
def signed_in(stack: RunningStack, address: str, browser: Any) -> dict[str, Any]:
    """Sign a captain (admin) and a lookout (viewer) in, each by a one-time link and a first password."""
    states = {}
    for name, role in (("captain", "admin"), ("lookout", "viewer")):
        states[name] = sign_in(browser, link_of(stack, name, role), address)
    return states


def sign_in(browser: Any, link: str, address: str) -> Any:
    """Redeem a one-time link and set the first password; return what the browser keeps of it."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(link)
    page.wait_for_url("**/you/password/")
    page.fill("#id_new_password1", PASSWORD)
    page.fill("#id_new_password2", PASSWORD)
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(address + "/")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_page(browser: Any, signed_in: dict[str, Any], address: str) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a page as a person; scripts that fail fail the test."""
    contexts, troubles = [], []

    def opened(
        path: str = "/", person: str | None = "captain", width: int = 1440, height: int = 900, **more: Any
    ) -> Any:
        state = signed_in[person] if person else None
        context = browser.new_context(storage_state=state, viewport={"width": width, "height": height}, **more)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(address + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def link_of(stack: RunningStack, name: str, role: str) -> str:
    """Return a one-time link for a person, who is made if need be."""
    told = stack.manage(
        "login-link", "--json", "--user", name, "--role", role, "--base-url", stack.status()["urls"]["web"]
    )
    return str(json.loads(told.stdout)["url"])
