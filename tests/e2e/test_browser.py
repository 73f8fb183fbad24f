"""What a person does in the browser, on the whole stack: sign in, watch, order, change limits, stop, be refused."""

import os
import re
import signal

import msgspec
import pytest
import redis
from playwright.sync_api import Page, expect

from tests.stack import RunningStack

pytestmark = [pytest.mark.browser, pytest.mark.stack]
FOLLOW_S = 60
SEND_TWICE = """() => {
  const body = new URLSearchParams(new FormData(document.getElementById("order-form")));
  const headers = {"X-CSRFToken": JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"]};
  return Promise.all([1, 2].map(() => fetch("/orders/", {method: "POST", body, headers})));
}"""

LET_GO_TOO_EARLY = """async (button) => {
  button.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true}));
  await new Promise(requestAnimationFrame);
  button.dispatchEvent(new KeyboardEvent("keyup", {key: "Enter", bubbles: true}));
}"""


def test_price_moves_before_the_eyes(open_page):
    page = open_page("/market/")
    last = page.locator("#last")
    expect(last).not_to_have_text("–")
    first = last.inner_text()
    expect(last).not_to_have_text(first)
    expect(page.locator("#asks tr")).to_have_count(11)
    expect(page.locator("#prints tr").first).to_be_visible()
    expect(page.locator("#chip-feed b")).to_contain_text("live")
    expect(page.locator("#chip-desk b")).to_contain_text("trading")


def order_form(page: Page, quantity: str, kind: str = "market", side: str = "buy", price: str = "") -> None:
    """Open the order form and fill it in."""
    page.locator("#new-order").click()
    form = page.locator("#order-form")
    expect(form).to_be_visible()
    form.locator(f"label:has([name=side][value={side}])").click()
    form.locator(f"label:has([name=kind][value={kind}])").click()
    if price:
        form.locator("#order-price").fill(price)
    form.locator("#order-quantity").fill(quantity)


def test_order_and_its_fill_arrive(open_page, stack: RunningStack):
    figures = "SELECT count(*) FROM portfolio_equitysnapshot"
    stack.wait(lambda: stack.query(figures)[0][0] > 0, "the account's first figures", 90)
    page = open_page("/")
    page.select_option("#instrument", label="BTC/USDT")
    page.locator("#tab-fills").click()
    before = page.locator("[data-count=fills]").inner_text()
    order_form(page, "0.01")
    expect(page.locator("#order-preview")).to_contain_text("Worst case")
    page.get_by_role("button", name="Send order").click()
    expect(page.locator("#order-answer")).to_contain_text("Done")
    page.keyboard.press("Escape")
    row = page.locator("#fills tr", has_text="manual").first
    expect(row).to_contain_text("BTC/USDT")
    expect(row).to_contain_text("▲ buy")
    expect(page.locator("[data-count=fills]")).not_to_have_text(before)
    page.locator("#tab-positions").click()
    position = page.locator("#positions tr", has_text="manual")
    expect(position).to_contain_text("0.00999")  # a spot buy pays its fee of 0.1 % in base
    expect(position.locator("[data-cell=mark]")).not_to_have_text("–")
    position.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Close position").click()
    expect(page.locator("#positions tr", has_text="manual")).to_have_count(0)
    assert not stack.query("SELECT 1 FROM execution_order WHERE state = 'unknown'")


def test_double_click_is_one_order(open_page, stack: RunningStack):
    page = open_page("/")
    page.select_option("#instrument", label="ETH/USDT")
    order_form(page, "0.05")
    nonce = page.locator("#order-form [name=nonce]").get_attribute("value")
    page.evaluate(SEND_TWICE)
    rows = stack.query("SELECT count(*) FROM execution_deskcommand WHERE nonce = %s", nonce)
    assert rows == [(1,)]


def test_changed_limit_refuses_the_next_order_with_its_reason(open_page, stack: RunningStack):
    admin = open_page("/admin/risk/limit/")
    admin.locator("#result_list a, table a").filter(has_text=re.compile("Order size")).first.click()
    kept, changed = admin.locator("#id_value").input_value(), admin.url
    try:
        admin.locator("#id_value").fill("10")
        admin.get_by_role("button", name="Save", exact=True).click()
        page = open_page("/")
        page.select_option("#instrument", label="BTC/USDT")
        stack.wait(lambda: _limit_of_desk(stack) == 10, "the desk follows the limit", FOLLOW_S)
        order_form(page, "0.01")
        page.get_by_role("button", name="Send order").click()
        expect(page.locator("#order-answer")).to_contain_text("Refused")
        page.keyboard.press("Escape")
        page.locator("#tab-refusals").click()
        row = page.locator("#refusals tr", has_text="manual").first
        expect(row).to_contain_text("order notional")
        row.get_by_role("button", name="Why").click()
        expect(page.locator("#why-body .stop")).to_contain_text("refused")
    finally:
        admin.goto(changed)
        admin.locator("#id_value").fill(kept)
        admin.get_by_role("button", name="Save", exact=True).click()
        stack.wait(lambda: _limit_of_desk(stack) == float(kept), "the desk follows the limit back", FOLLOW_S)


def _limit_of_desk(stack: RunningStack) -> float:
    """Return the order limit as the desk itself last told it."""
    client = redis.Redis.from_url(stack.servers()["redis_url"])
    states = {key.decode(): value for key, value in client.hgetall("qd:last").items()}
    _, account = msgspec.msgpack.decode(next(value for key, value in states.items() if key.startswith("account.")))
    return float(account["limits"]["order_notional"])


def test_hold_stops_everything_until_released(open_page, stack: RunningStack):
    page = open_page("/")
    page.select_option("#instrument", label="BTC/USDT")
    order_form(page, "0.01", kind="limit", side="buy")
    page.locator("#order-price").fill(_below_market(page))
    page.get_by_role("button", name="Send order").click()
    expect(page.locator("#order-answer")).to_contain_text("Done")
    page.keyboard.press("Escape")
    page.locator("#tab-orders").click()
    expect(page.locator("#orders tr[data-risk='1']", has_text="manual")).to_be_visible()
    button = page.locator(".strip [data-kill=all]")
    button.evaluate(LET_GO_TOO_EARLY)
    expect(button).to_have_attribute("data-state", "ready")  # let go too early: nothing happened
    button.hover()
    page.mouse.down()
    expect(page.locator("#banner")).to_contain_text("Kill switch engaged")
    page.mouse.up()
    expect(page.locator("#banner")).to_contain_text("0 risk-adding orders rest at the venue")
    expect(page.locator("#chip-risk b")).to_have_text("stopped")
    expect(page.locator("#orders tr[data-risk='1']")).to_have_count(0)
    opened = "SELECT count(*) FROM execution_order WHERE adds_risk AND state IN ('sent','acknowledged','partly_filled')"
    assert stack.query(opened) == [(0,)]
    page.get_by_role("button", name="Release…").click()
    page.fill("#release-reason", "the test is over")
    page.fill("#release-password", "not mine")
    page.get_by_role("button", name="Release", exact=True).click()
    expect(page.locator("#release-answer")).to_contain_text("not your password")
    page.fill("#release-password", "a quiet harbour")
    page.get_by_role("button", name="Release", exact=True).click()
    expect(page.locator("#banner .banner")).to_have_count(0)
    expect(button).to_have_attribute("data-state", "ready")


def test_the_admin_has_the_kill_switch_too(open_page, address):
    page = open_page("/admin/risk/limit/")
    page.locator("[data-kill=all]").hover()
    page.mouse.down()
    expect(page.locator("#banner")).to_contain_text("Kill switch engaged")
    page.mouse.up()
    page.goto(address + "/admin/")  # and another page of the admin says so as it opens
    expect(page.locator("#banner")).to_contain_text("Kill switch engaged")
    expect(page.locator("[data-kill=all]")).to_have_attribute("data-state", "engaged")
    desk = open_page("/")
    desk.get_by_role("button", name="Release…").click()
    desk.fill("#release-reason", "the test is over")
    desk.fill("#release-password", "a quiet harbour")
    desk.get_by_role("button", name="Release", exact=True).click()
    expect(desk.locator("#banner .banner")).to_have_count(0)
    # the admin's page, which stayed open, hears of it: its switch can be held again
    expect(page.locator("#banner .banner")).to_have_count(0)
    expect(page.locator("[data-kill=all]")).to_have_attribute("data-state", "ready")
    expect(page.locator("[data-kill=all]")).to_have_attribute("aria-label", "Kill switch: hold to stop all trading")


def _below_market(page: Page) -> str:
    """Return a price one per cent below the last one, which the form shows: it rests."""
    return f"{float(page.locator('#order-price').input_value()) * 0.99:.1f}"


def test_viewer_looks_and_is_refused(open_page, address):
    page = open_page("/", person="lookout")
    expect(page.locator("#new-order")).to_have_count(0)
    button = page.locator(".strip [data-kill=all]")
    button.hover()
    page.mouse.down()
    expect(page.locator("#banner")).to_contain_text("takes the role trader")
    page.mouse.up()
    for path in ("/orders/new/", "/admin/"):
        assert page.request.get(address + path, max_redirects=0).status in (302, 403)
    expect(page.locator(".needs-trader:visible")).to_have_count(0)


def test_lost_connection_is_said_and_comes_back(open_page, stack: RunningStack):
    page = open_page("/")
    expect(page.locator("#chip-feed b")).to_contain_text("live")
    expect(page.locator("#connection")).to_be_hidden()
    pid = next(process["pid"] for process in stack.status()["processes"] if process["name"] == "web")
    os.kill(pid, signal.SIGKILL)
    expect(page.locator("#connection")).to_contain_text(re.compile(r"reconnecting, last seen \d\d:\d\d:\d\d"))
    expect(page.locator("#connection")).to_be_hidden(timeout=60_000)
    first = page.locator("#legend").inner_text()
    expect(page.locator("#legend")).not_to_have_text(first)


def test_universe_edit_is_followed_by_feed_and_open_page(open_page, stack: RunningStack):
    count = "SELECT count(*) FROM market_universe_members"
    before = stack.query(count)[0][0]
    page = open_page("/")
    offered, perpetuals = page.locator("#instrument option"), page.locator("#instrument option", has_text=":USDT")
    expect(offered).to_have_count(before)
    expect(perpetuals).not_to_have_count(0)
    page.select_option("#instrument", label="BTC/USDT")
    admin = open_page("/admin/market/universe/")
    admin.get_by_role("link", name="desk", exact=True).click()
    admin.fill("#id_rule_quote", "USDT")
    admin.select_option("#id_rule_kind", "spot")
    try:
        admin.get_by_role("button", name="Save", exact=True).click()
        admin.wait_for_url("**/admin/market/universe/")
        stack.wait(lambda: 0 < stack.query(count)[0][0] < before, "the rule leaves the perpetuals out", FOLLOW_S)
        left = stack.query(count)[0][0]
        fewer = "|".join(str(live) for live in range(left, before))  # what is held is collected until it is flat
        expect(page.locator("#chip-feed b")).to_contain_text(re.compile(rf"^({fewer}) live"))
        expect(offered).to_have_count(left + len(_held_besides(stack)))
        expect(page.locator("#instrument option:checked")).to_have_text("BTC/USDT")
    finally:
        admin.goto(admin.url)
        admin.get_by_role("link", name="desk", exact=True).click()
        admin.select_option("#id_rule_kind", "")
        admin.get_by_role("button", name="Save", exact=True).click()
        stack.wait(lambda: stack.query(count)[0][0] == before, "the universe is whole again", FOLLOW_S)
    expect(offered).to_have_count(before)


def _held_besides(stack: RunningStack) -> list[tuple[int]]:
    """Return the instruments that are held or have open orders although nobody collects them any more."""
    return stack.query(
        """SELECT instrument_id FROM (
             SELECT instrument_id FROM portfolio_position WHERE quantity <> 0 UNION
             SELECT instrument_id FROM execution_order WHERE state IN
               ('created', 'sent', 'acknowledged', 'partly_filled', 'cancelling', 'unknown')) held
           WHERE instrument_id NOT IN (SELECT instrument_id FROM market_universe_members)"""
    )
