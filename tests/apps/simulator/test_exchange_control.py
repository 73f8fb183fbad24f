"""The control address: who may use it, what it tells, and how it says what is wrong."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from apps.simulator.exchange.auth import KeyFileError, Keys, token_make
from apps.simulator.exchange.store import Store, StoreError
from tests.apps.simulator.exchange_half import KEY, Exchange, called, exchange

SWAP = "BTC/USDT:USDT"


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[Exchange]:
    async with exchange(tmp_path / "state") as running:
        running.ccxt = running.client()
        await called(running.ccxt.load_markets)
        yield running


async def status_of(
    venue: Exchange, method: str, path: str, body: str = "", token: str | None = None
) -> tuple[int, str]:
    token = venue.context.control_token if token is None else token
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.request(method, venue.control + path, data=body) as response,
    ):
        return response.status, await response.text()


async def test_only_the_holder_of_the_token_gets_in(venue: Exchange) -> None:
    for path in ("/ledger", "/state", "/clock", "/faults"):
        assert (await status_of(venue, "GET", path, token="guess"))[0] == 401
    assert (venue.context.options.state_dir / "control.token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("method", "path", "body", "named"),
    [
        ("GET", "/ledger?kind=x", "", "kind must be one of request, order, fill, cancel, frame"),
        ("GET", "/ledger?since=x", "", "since must be a seq"),
        ("POST", "/faults", '{"fault": "x"}', "Invalid enum value"),
        ("POST", "/faults", '{"fault": "latency", "second": 3}', "unknown field `second`"),
        ("POST", "/faults", '{"fault": "latency", "seconds": 0}', "seconds must be above 0"),
        ("POST", "/faults", '{"fault": "partial_fills", "share": 2}', "share must be from 0 to 1"),
        ("POST", "/market", "{", "not JSON"),
        ("POST", "/market", "{}", "say one of"),
        ("POST", "/market", '{"dance": 1}', "must be an object with"),
        ("POST", "/market", '{"until": "soon"}', "until must be a whole number"),
        ("POST", "/market", '{"step": 0}', "step must be at least 1"),
        ("POST", "/market", '{"speed": -1}', "speed must be above 0"),
    ],
)
async def test_a_wrong_control_request_is_told_which_field_is_wrong(
    venue: Exchange, method: str, path: str, body: str, named: str
) -> None:
    status, text = await status_of(venue, method, path, body)
    assert status == 400
    assert named in text


async def test_the_market_is_moved_and_the_clock_tells_it(venue: Exchange) -> None:
    clock = await venue.ask("POST", "/market", {"speed": 60})
    assert (clock["speed"], clock["running"], clock["saturated"]) == (60, False, False)
    assert (await venue.ask("POST", "/market", {"speed": "max"}))["speed"] == "max"
    assert (await venue.ask("POST", "/market", {"resume": True}))["running"]
    assert not (await venue.ask("POST", "/market", {"pause": True}))["running"]
    assert (await venue.ask("POST", "/market", {"step": 2}))["until_ns"] == venue.now_ns + 120 * 10**9
    until_ns = venue.now_ns + 10**9
    assert (await venue.ask("POST", "/market", {"until": until_ns}))["until_ns"] == until_ns
    assert (await venue.ask("POST", "/market", {"halt": True}))["halted"] == ["*"]
    assert (await venue.ask("POST", "/market", {"unhalt": True}))["halted"] == []
    assert (await venue.ask("GET", "/clock"))["mode"] == "replay"


async def test_the_state_shows_accounts_positions_and_open_orders(venue: Exchange) -> None:
    await called(venue.ccxt.create_order, SWAP, "market", "buy", 0.5)
    await called(venue.ccxt.create_order, SWAP, "limit", "buy", 0.5, 90)
    [account] = (await venue.ask("GET", "/state"))["accounts"]
    assert account["api_key"] == KEY
    assert [position["size"] for position in account["positions"]] == ["0.5"]
    assert [order["price"] for order in account["orders"]] == ["90"]
    assert account["wallets"]["USDT"] == "99999.9724725"


async def test_the_ledger_tells_requests_orders_fills_and_cancels_in_order_of_seq(venue: Exchange) -> None:
    order = await called(venue.ccxt.create_order, SWAP, "limit", "buy", 0.5, 90, {"clientOrderId": "one"})
    await called(venue.ccxt.create_order, SWAP, "market", "buy", 0.5, None, {"clientOrderId": "two"})
    await called(venue.ccxt.create_order, SWAP, "market", "sell", 0.2, None, {"reduceOnly": True})
    await called(venue.ccxt.create_order, SWAP, "limit", "sell", 0.2, 120)
    await called(venue.ccxt.create_order, SWAP, "limit", "sell", 0.2, 120)
    await called(venue.ccxt.cancel_order, order["id"], SWAP)
    rows = await venue.ledger()
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(row["wall_ns"] > 0 and row["market_ns"] == venue.now_ns for row in rows if row["kind"] != "frame")
    orders = [row for row in rows if row["kind"] == "order"]
    assert [row["adds_risk"] for row in orders] == [True, True, False, False, True]
    [fill, *_] = [row for row in rows if row["kind"] == "fill"]
    assert (fill["link_id"], fill["quantity"], fill["price"], fill["is_maker"]) == ("two", "0.5", "100.1", False)
    [cancel] = [row for row in rows if row["kind"] == "cancel"]
    assert (cancel["order_id"], cancel["cancel_type"]) == (order["id"], "CancelByUser")
    create = next(row for row in rows if row.get("path") == "/v5/order/create")
    assert create["body"]["orderLinkId"] == "one"
    assert create["outcome"] == "ok"
    assert create["seq"] < orders[0]["seq"]
    later = await venue.ledger(since=rows[-1]["seq"])
    assert later == []
    assert [row["seq"] for row in await venue.ledger("order", orders[2]["seq"])] == [row["seq"] for row in orders[3:]]


async def test_public_frames_are_recorded_as_asked(venue: Exchange) -> None:
    await venue.ask("POST", "/ledger", {"all_frames": True})
    venue.context.ledger.frame("kline.1.BTCUSDT", 5, b'{"topic":"kline.1.BTCUSDT"}', 7)
    [frame] = await venue.ledger("frame")
    assert (frame["topic"], frame["wall_ns"], frame["market_ns"]) == ("kline.1.BTCUSDT", 7, 5)
    assert frame["body"] == {"topic": "kline.1.BTCUSDT"}


def test_keys_are_read_again_when_the_file_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    assert Keys(tmp_path).all() == []
    file.write_text('[{"key": "a", "secret": "b"}]')
    file.chmod(0o600)
    keys = Keys(tmp_path)
    assert keys.find("a").balances["USDT"] == 100_000
    file.write_text('[{"key": "a", "secret": "b"}, {"key": "c", "secret": "d", "balances": {"EUR": "5"}}]')
    assert keys.find("c").balances == {"EUR": 5}
    assert keys.find("nobody") is None


def test_a_key_file_that_others_can_read_or_that_is_malformed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text("[]")
    file.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Keys(tmp_path)
    file.chmod(0o600)
    file.write_text('{"key": 1}')
    with pytest.raises(KeyFileError, match="write it as"):
        Keys(tmp_path)


def test_a_state_folder_serves_one_process_and_one_version(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="in use by another"):
        Store(tmp_path)
    store._connection.execute("PRAGMA user_version=99")
    store.close()
    with pytest.raises(StoreError, match="another version"):
        Store(tmp_path)


def test_the_control_token_is_made_once(tmp_path: Path) -> None:
    token = token_make(tmp_path / "control.token")
    assert len(token) == 48
    assert token_make(tmp_path / "control.token") == token
