"""PostgreSQL is really down, and the way to the kill switch stands: open pages, new sockets, new pages, POST."""

import json
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.e2e.conftest import PATIENCE_MS, START_S, link_of, sign_in
from tests.stack import RunningStack
from trader.runtime.servers import EmbeddedPostgres

pytestmark = [pytest.mark.browser, pytest.mark.stack]


@pytest.fixture(scope="module")
def down(chromium: str, browser: Any) -> Iterator[SimpleNamespace]:
    """A stack whose database is a server of the test's own, stopped for good with two pages open."""
    folder = Path(tempfile.mkdtemp(prefix="qdd-"))
    (folder / "s").mkdir(mode=0o700)
    postgres = EmbeddedPostgres(folder / "pg", folder / "s", folder / "pg.log")
    postgres.start()
    try:
        with RunningStack("--market", "synthetic", DATABASE_URL=postgres.url) as stack:
            stack.wait_ready(START_S)
            address = str(stack.status()["urls"]["web"])
            people = {
                name: sign_in(browser, link_of(stack, name, role), address)
                for name, role in (("captain", "admin"), ("lookout", "viewer"))
            }
            context = browser.new_context(storage_state=people["captain"])
            context.set_default_timeout(PATIENCE_MS)
            pages = [context.new_page() for _ in range(2)]
            for page, path in zip(pages, ("/", "/risk/"), strict=True):
                page.goto(address + path)
                expect(page.locator("#chip-desk b")).to_contain_text("trading")
            assert postgres.process is not None
            postgres.process.send_signal(signal.SIGINT)
            postgres.process.wait(30)
            yield SimpleNamespace(
                stack=stack, address=address, people=people, context=context, pages=pages, postgres=postgres
            )
            context.close()
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_an_open_page_goes_on(down):
    clock = down.pages[0].locator("#clock")
    first = clock.inner_text()
    expect(clock).not_to_have_text(first)
    assert down.postgres.process.poll() is not None
    expect(down.pages[0].locator("#connection")).to_be_hidden()


def socket_answer(down: SimpleNamespace, cookies: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the first state that a new socket with these cookies gets; None when it is refused."""
    host = down.address.removeprefix("http://")
    line = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in cookies)
    try:
        with connect(
            f"ws://{host}/ws/", origin=down.address, additional_headers={"Cookie": line}, open_timeout=60
        ) as socket:
            socket.send('{"op":"sub","topics":["clock.bybit-sim"]}')
            while True:
                frame = json.loads(socket.recv(60))
                if frame["k"] == "state":
                    return dict(frame["v"])
    except (InvalidStatus, ConnectionClosed):
        return None


@pytest.mark.parametrize("name", ["captain", "lookout"])
def test_a_new_socket_is_let_in_by_the_signed_cookie(down, name):
    cookies = down.people[name]["cookies"]
    assert "clock.bybit-sim" in socket_answer(down, cookies)
    assert socket_answer(down, [cookie for cookie in cookies if cookie["name"] != "qd_identity"]) is None
    forged = [cookie | {"value": cookie["value"][:-3] + "xyz"} for cookie in cookies if cookie["name"] == "qd_identity"]
    assert socket_answer(down, forged) is None


def test_a_new_page_says_what_is_wrong_and_has_the_switch_for_a_trader(down):
    page = new_page(down, "captain")
    expect(page.get_by_role("heading", level=1)).to_have_text("The database does not answer")
    expect(page.locator("[data-kill=all]")).to_be_visible()
    assert page.locator("[data-kill=all]").get_attribute("data-state") == "ready"
    looking = new_page(down, "lookout")
    expect(looking.locator("[data-kill]")).to_have_count(0)
    looking.context.close()
    page.context.close()


def new_page(down: SimpleNamespace, name: str) -> Page:
    """Open the desk's address as somebody who signed in before."""
    context = down.context.browser.new_context(storage_state=down.people[name])
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    answer = page.goto(down.address + "/")
    assert answer is not None
    assert answer.status == 503
    return page


def post_engage(down: SimpleNamespace, name: str) -> tuple[int, str]:
    """POST as a script of that person would; return the status and the words."""
    context = down.context.browser.new_context(storage_state=down.people[name])
    token = next(cookie["value"] for cookie in down.people[name]["cookies"] if cookie["name"] == "csrftoken")
    headers = {"X-CSRFToken": token, "Referer": down.address + "/"}
    answer = context.request.post(
        down.address + "/kill/engage", form={"scope": "all", "reason": "drill"}, headers=headers, timeout=PATIENCE_MS
    )
    found = answer.status, answer.text()
    context.close()
    return found


def test_the_switch_is_engaged_by_hand_and_by_post_and_every_open_page_says_so(down):
    assert post_engage(down, "lookout")[0] == 403
    page, other = down.pages
    page.locator(".strip [data-kill=all]").hover()
    page.mouse.down()
    expect(page.locator("#banner")).to_contain_text("Kill switch engaged for everything by captain")
    page.mouse.up()
    expect(page.locator(".strip [data-kill=all]")).to_have_attribute("data-state", "engaged")
    expect(other.locator("#banner")).to_contain_text(
        "Kill switch engaged"
    )  # nobody wrote a log message: the desk says it
    status, words = post_engage(down, "captain")
    assert status == 200
    assert "one suffices" in words
    fresh = new_page(down, "captain")
    expect(fresh.locator("#banner")).to_contain_text("Kill switch engaged")
    expect(fresh.locator("[data-kill=all]")).to_have_attribute("data-state", "engaged")
    fresh.context.close()


def test_with_the_database_back_the_pages_come_and_the_switch_is_still_engaged(down):
    assert down.postgres.process.poll() is not None
    down.postgres.start()
    page = down.context.new_page()
    down.stack.wait(lambda: page.goto(down.address + "/").status == 200, "pages come again", 60)
    expect(page.locator("#banner")).to_contain_text("Kill switch engaged")
    expect(page.locator(".strip [data-kill=all]")).to_have_attribute("data-state", "engaged")
