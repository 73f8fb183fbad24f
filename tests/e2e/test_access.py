"""Pages for everyone: contrast and names by axe-core in both themes, every width, no jumps, and closed sockets."""

import re

import pytest
from playwright.sync_api import expect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

pytestmark = [pytest.mark.browser, pytest.mark.stack]
PAGES = [
    "/", "/market/", "/scanner/", "/models/", "/strategies/", "/backtests/", "/risk/", "/data/", "/annotate/",
    "/operations/", "/you/",
]  # fmt: skip
ADMIN = ["/admin/", "/admin/risk/limit/", "/admin/users/user/add/"]
THEMES = ["dark", "light"]
WIDTHS = [390, 768, 1280, 1440, 2560]
# every width, and both themes where little and where much is shown
LOOKS = [(390, "dark"), (390, "light"), (768, "dark"), (1280, "light"), (1440, "dark"), (2560, "light")]
TAGS = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
    "resultTypes": ["violations"],  # what passes need not be described
}
# the page after two frames has the theme's colours, whatever moves
WITH_THEME = """theme => new Promise((done) => {
  document.documentElement.dataset.theme = theme;
  requestAnimationFrame(() => requestAnimationFrame(done));
})"""
MOVED_AT_MOST = 0.05
WATCH_SHIFTS = """
window.moved = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.moved += entry.value; })
  .observe({type: "layout-shift", buffered: true});
"""


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_at_any_width_in_either_theme(open_page, path):
    page = open_page(path, reduced_motion="reduce")
    found = []
    for width, theme in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(WITH_THEME, theme)
        found += [(width, theme, *violation) for violation in violations(page)]
    assert found == []


def violations(page) -> list[tuple[str, list[str]]]:
    """Return what axe-core finds: the rule, and the first elements that break it."""
    from axe_playwright_python.base import AXE_SCRIPT

    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate("(options) => axe.run(document, options).then((results) => results.violations)", TAGS)
    return [(entry["id"], [node["html"][:160] for node in entry["nodes"][:3]]) for entry in found]


@pytest.mark.parametrize("path", ["/sign-in/", "/sign-in/link/"])
def test_axe_finds_nothing_before_sign_in(open_page, path):
    assert violations(open_page(path, person=None)) == []


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("path", ADMIN)
def test_axe_finds_nothing_in_the_admin(open_page, address, path, theme):
    page = open_page("/you/", reduced_motion="reduce")
    page.evaluate("theme => localStorage.setItem('adminTheme', JSON.stringify(theme))", theme)
    page.goto(address + path)
    expect(page.locator("html")).to_have_class(re.compile(r"\bdark\b" if theme == "dark" else r"^(?!.*\bdark\b)"))
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        found += [(width, *violation) for violation in violations(page)]
    assert found == []


@pytest.mark.parametrize("width", WIDTHS)
def test_no_admin_page_is_wider_than_the_window(open_page, address, width):
    page = open_page("/you/", width=width)
    for path in ADMIN:
        page.goto(address + path)
        wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} at {width}"


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_the_window(open_page, address, width):
    page = open_page("/", width=width)
    for path in PAGES:
        page.goto(address + path)
        wide = page.evaluate(
            "() => [document.documentElement, document.querySelector('main')].map((e) => e.scrollWidth - e.clientWidth)"
        )
        assert max(wide) <= 0, f"{path} at {width}"
        expect(page.locator(".strip [data-kill=all]")).to_be_in_viewport(ratio=1)
        expect(page.locator(".rail a").first).to_be_in_viewport()


@pytest.mark.parametrize("path", ["/", "/market/"])
def test_nothing_jumps_after_the_first_paint(open_page, address, path):
    page = open_page("/you/")
    page.add_init_script(WATCH_SHIFTS)
    page.goto(address + path)
    page.wait_for_timeout(3000)
    assert page.evaluate("window.moved") < MOVED_AT_MOST


def test_pages_are_gone_through_by_keyboard(open_page):
    page = open_page("/")
    page.keyboard.press("g")
    page.keyboard.press("m")
    page.wait_for_url("**/market/**")
    page.keyboard.press("?")
    expect(page.locator("#keys-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.locator("#search").fill("eth")
    expect(page.locator("#search-results [role=option]").first).to_contain_text("ETH/")
    page.keyboard.press("Enter")
    page.wait_for_url("**/eth-usdt**")
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.locator("#tab-positions").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-orders")).to_be_visible()
    expect(page.locator("#tab-orders")).to_be_focused()


def test_times_are_said_in_the_persons_zone(open_page, stack):
    page = open_page("/you/", person="lookout")
    page.select_option("#id_time_zone", "Asia/Tokyo")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#clock")).to_contain_text("GMT+9")
    page.select_option("#id_time_zone", "UTC")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#clock")).to_contain_text("UTC")


def socket_answer(host: str, origin: str | None, cookies: str = "") -> str:
    """Return what a socket that asks for signals gets: data, or a refusal."""
    headers = {"Cookie": cookies} if cookies else {}
    try:
        with connect(f"ws://{host}/ws/", origin=origin, additional_headers=headers, open_timeout=10) as socket:
            socket.send('{"op":"sub","topics":["signals"]}')
            return "data" if socket.recv(10) else "nothing"
    except (InvalidStatus, ConnectionClosed):
        return "refused"


def test_socket_is_refused_to_the_unknown_and_to_other_sites(address, signed_in):
    host = address.removeprefix("http://")
    cookies = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in signed_in["captain"]["cookies"])
    assert socket_answer(host, address) == "refused"
    assert socket_answer(host, "https://evil.example", cookies) == "refused"
    assert socket_answer(host, None, cookies) == "refused"
    assert socket_answer(host, address, cookies) == "data"
