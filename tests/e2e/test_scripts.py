"""Our scripts on their own in a real browser, without the stack: figures, waiting rows, numbered deltas, the hold."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser
EMPTY_PAGE = """<body data-zone="UTC"><div class="scroll"><table><tbody id="list"></tbody></table></div></body>"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves the repository's static folder."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def origin(root) -> Iterator[str]:
    """Serve `static/` on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def page(browser, origin) -> Iterator[Page]:
    """Return an empty page of our origin, into which scripts are loaded as modules."""
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(origin + "/static/css/tokens.css")
    opened.set_content(EMPTY_PAGE)
    yield opened
    context.close()


def run(page: Page, script: str):
    """Run a function body in which modules can be imported by name."""
    return page.evaluate("async () => { const load = (name) => import(`/static/js/${name}.js`);" + script + "}")


def test_figures_are_as_the_server_writes_them(page):
    assert run(
        page,
        """const {number, signed, share} = await load("format");
        return [number(-1234.5), number(null), signed(12.4), signed(-0.001), share(0.384), number(0, 0)];""",
    ) == ["−1,234.50", "–", "+12.40", "0.00", "38\u202f%", "0"]


ROWS = """
const {RowList} = await load("rows");
const row = (id, open = 1, account = 1, text = id) =>
  `<tr id="order-${id}" data-account="${account}" data-open="${open}"><td tabindex="0">${text}</td></tr>`;
const body = document.getElementById("list");
const list = new RowList(body, {account: 1, most: 3, keep: (r) => r.dataset.open === "1"});
const ids = () => [...body.rows].map((r) => r.id);
"""


def test_new_rows_come_first_and_the_oldest_leave(page):
    script = ROWS + "for (const id of [1, 2, 3, 4]) list.row(row(id)); return ids();"
    assert run(page, script) == ["order-4", "order-3", "order-2"]


def test_changed_row_stays_in_its_place_and_an_ended_one_leaves(page):
    script = (
        ROWS
        + """for (const id of [1, 2]) list.row(row(id)); list.row(row(1, 1, 1, "changed"));
        const changed = body.rows[1].textContent; list.row(row(2, 0)); return [changed, ids()];"""
    )
    assert run(page, script) == ["changed", ["order-1"]]


def test_rows_of_another_account_are_left_out(page):
    assert run(page, ROWS + "list.row(row(1, 1, 2)); return ids();") == []


def test_new_rows_wait_while_someone_reads(page):
    script = (
        ROWS
        + """list.row(row(1)); body.querySelector("td").focus(); list.row(row(2)); list.row(row(3));
        const while_reading = ids(); document.activeElement.blur();
        await new Promise((resolve) => setTimeout(resolve, 120)); return [while_reading, ids()];"""
    )
    assert run(page, script) == [["order-1"], ["order-3", "order-2", "order-1"]]


def test_row_that_ended_while_it_waited_never_appears(page):
    script = (
        ROWS
        + """list.row(row(1)); body.querySelector("td").focus(); list.row(row(2)); list.row(row(2, 0));
        document.activeElement.blur(); await new Promise((resolve) => setTimeout(resolve, 120)); return ids();"""
    )
    assert run(page, script) == ["order-1"]


def test_snapshot_replaces_everything(page):
    script = ROWS + "list.row(row(1)); list.snapshot(row(7) + row(8, 0) + row(9, 1, 2)); return ids();"
    assert run(page, script) == ["order-7"]


BARS = """
const {Bars} = await load("bars");
const bars = new Bars(300);
const bar = (second, price, volume = 1) => [second, price, price + 1, price - 1, price, volume, 0];
const live = (second, price, volume = 1) =>
  bars.minute({open_ns: second * 1e9, open: price, high: price + 1, low: price - 1, close: price, volume});
bars.store({bars: [bar(0, 10), bar(300, 20)], minutes: [bar(600, 30, 2)]});
"""


def test_candle_in_the_making_is_the_sum_of_its_minutes(page):
    script = BARS + "live(660, 40, 3); live(660, 35, 5); return bars.newest;"
    assert run(page, script) == [600, 30, 36, 29, 35, 7, 0]


def test_first_word_of_a_minute_is_told_apart_from_the_next(page):
    script = BARS + "return [live(660, 40), live(660, 41), live(300, 1), bars.newest[4]];"
    assert run(page, script) == [True, False, False, 41]


def test_what_the_socket_skipped_is_taken_from_storage(page):
    script = (
        BARS
        + """live(660, 40); live(1500, 90); const wanted = bars.wanted();
        bars.store({bars: [bar(300, 20), bar(600, 33), bar(900, 50), bar(1200, 70)], minutes: [bar(1500, 88)]});
        return [wanted, bars.all().map((one) => [one[0], one[4]])];"""
    )
    assert run(page, script) == [7, [[0, 10], [300, 20], [600, 33], [900, 50], [1200, 70], [1500, 88]]]


def test_candles_of_which_our_prints_made_others_are_told_apart(page):
    script = (
        BARS
        + """const {differs} = await load("bars");
        bars.store({bars: [[300, 20, 21, 19, 20, 1, 16 | 8]], minutes: [[600, 30, 31, 29, 30, 2, 16], bar(660, 40)]});
        return [bars.all().map(differs), differs(bar(0, 1)), bars.newest[6]];"""
    )
    assert run(page, script) == [[False, True, True], False, 16]


def test_live_prints_stand_over_the_stored_ones_without_doubling_them(page):
    script = """const {joined} = await load("prints");
    const print = (ns) => [ns, 100, 1, 1];
    const times = (rows) => rows.map((row) => row[0]);
    const many = Array.from({length: 30}, (_, place) => print(100 - place));
    return [
      times(joined([print(9), print(7), print(7)], [print(8), print(7), print(6), print(5)])),
      times(joined([], [print(8)])), times(joined([print(9)], [])),
      joined([print(200)], many).length, times(joined(many, [print(3)])).at(-1),
    ];"""
    assert run(page, script) == [[9, 7, 7, 6, 5], [8], [9], 30, 71]


def test_older_bars_are_put_before_and_their_end_is_noticed(page):
    script = BARS + "return [bars.older([bar(-300, 5), bar(0, 1)]), bars.first, bars.older([]), bars.closed.length];"
    assert run(page, script) == [True, -300, False, 3]


LIVE = """
const sent = [];
class Socket extends EventTarget {
  static OPEN = 1;
  constructor() { super(); this.readyState = 1; globalThis.socket = this; }
  send(text) { sent.push(JSON.parse(text)); }
  close() { this.readyState = 3; }
  say(frame) { this.dispatchEvent(new MessageEvent("message", {data: JSON.stringify(frame)})); }
}
globalThis.WebSocket = Socket;
const {Live} = await load("live");
const live = new Live("/ws/");
const seen = [];
live.log("orders", 5, {onRow: (v) => seen.push(v), onSnapshot: (v) => seen.push(["snap", v])});
live.state("quote.1", (v) => seen.push(v));
live.connect();
globalThis.socket.dispatchEvent(new Event("open"));
"""


def test_page_asks_for_what_follows_the_number_it_was_drawn_with(page):
    assert run(page, LIVE + "return sent;") == [
        {"op": "sub", "topics": ["quote.1"]},
        {"op": "sub", "topics": ["orders"], "since": {"orders": 5}},
    ]


def test_deltas_come_in_order_once_and_several_in_one_frame(page):
    script = (
        LIVE
        + """socket.say([{k: "log", t: "orders", n: 6, v: "a"}, {k: "log", t: "orders", n: 7, v: "b"}]);
        socket.say({k: "log", t: "orders", n: 7, v: "again"});
        socket.say({k: "state", v: {"quote.1": 3}}); return seen;"""
    )
    assert run(page, script) == ["a", "b", 3]


def test_hole_in_the_numbers_asks_for_a_snapshot_and_goes_on_from_it(page):
    script = (
        LIVE
        + """socket.say({k: "log", t: "orders", n: 9, v: "too early"});
        const asked = sent.at(-1); socket.say({k: "snap", t: "orders", n: 12, v: ["all"]});
        socket.say({k: "log", t: "orders", n: 13, v: "next"}); return [asked, seen];"""
    )
    assert run(page, script) == [{"op": "sub", "topics": ["orders"]}, [["snap", ["all"]], "next"]]


def test_lost_socket_is_told_and_taken_up_where_it_ended(page):
    script = (
        LIVE
        + """const told = []; live.onConnection((state) => told.push(state));
        socket.say({k: "log", t: "orders", n: 6, v: "a"}); const first = socket; first.readyState = 3;
        first.dispatchEvent(new CloseEvent("close", {code: 1006}));
        await new Promise((resolve) => setTimeout(resolve, 400));
        socket.dispatchEvent(new Event("open")); return [told, socket !== first, sent.at(-1)];"""
    )
    resumed = {"op": "sub", "topics": ["orders"], "since": {"orders": 6}}
    assert run(page, script) == [["lost", "live"], True, resumed]


def test_signed_out_socket_does_not_knock_again(page):
    script = (
        LIVE
        + """const told = []; live.onConnection((state) => told.push(state)); const first = socket;
        first.readyState = 3; first.dispatchEvent(new CloseEvent("close", {code: 4401}));
        await new Promise((resolve) => setTimeout(resolve, 500)); return [told, socket === first];"""
    )
    assert run(page, script) == [["refused"], True]


KILL = """
document.body.innerHTML = `<div id="banner"></div><input name="csrfmiddlewaretoken" value="t">
  <button data-kill="all" data-state="ready" data-url="/kill/engage" aria-label="x">
  <span><span class="words"></span></span></button>`;
const asked = [];
globalThis.fetch = async (url, options) => { asked.push([url, String(options.body), options.headers["X-CSRFToken"]]);
  return {ok: true, text: async () => '<div data-scope="all">stopped</div>'}; };
const {killButtons} = await load("kill");
killButtons(document);
const button = document.querySelector("button");
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const key = (type, more = {}) => button.dispatchEvent(new KeyboardEvent(type, {key: " ", bubbles: true, ...more}));
"""


def test_hold_that_ends_early_does_nothing(page):
    script = (
        KILL + "key('keydown'); await wait(50); key('keyup'); await wait(1000); return [asked, button.dataset.state];"
    )
    assert run(page, script) == [[], "ready"]


def test_full_hold_engages_once_and_shows_the_banner(page):
    script = (
        KILL
        + """key("keydown");
        for (let i = 0; i < 8; i++) { await wait(150); key("keydown", {repeat: true}); }
        for (let i = 0; i < 200 && button.dataset.state !== "engaged"; i++) await wait(50);
        key("keyup"); return [asked, button.dataset.state, document.getElementById("banner").textContent];"""
    )
    assert run(page, script) == [[["/kill/engage", "scope=all", "t"]], "engaged", "stopped"]
