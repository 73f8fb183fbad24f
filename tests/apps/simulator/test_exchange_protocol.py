"""Signatures, clocks, limits and faults: what an unmodified client meets when something is not as it should be."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import ccxt
import pytest

from tests.apps.simulator.exchange_half import SECRET, Exchange, called, exchange

SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[Exchange]:
    async with exchange(tmp_path / "state") as running:
        running.ccxt = running.client()
        await called(running.ccxt.load_markets)
        yield running


@pytest.fixture
async def limited(tmp_path: Path) -> AsyncIterator[Exchange]:
    async with exchange(tmp_path / "state", limits=True) as running:
        running.ccxt = running.client()
        await called(running.ccxt.load_markets)
        yield running


async def buy(venue: Exchange, client: ccxt.bybit | None = None, **params) -> dict:
    client = client or venue.ccxt
    return await called(client.create_order, SWAP, "limit", "buy", 0.1, 90, params)


async def accepted(venue: Exchange) -> list[str]:
    return [row["link_id"] for row in await venue.ledger("order")]


async def test_an_unknown_key_and_a_wrong_secret_are_authentication_errors(venue: Exchange) -> None:
    for wrong, code in (({"apiKey": "nobody"}, "10003"), ({"secret": "wrong"}, "10004")):
        client = venue.client(**wrong)
        with pytest.raises(ccxt.AuthenticationError, match=code):
            await called(client.fetch_balance)
    outcomes = {row["outcome"].split()[0] for row in await venue.ledger("request")}
    assert {"10003", "10004"} <= outcomes


async def test_a_body_changed_on_its_way_is_refused(venue: Exchange) -> None:
    client = venue.client()
    client.markets = venue.ccxt.markets
    sign = client.sign

    def tampered(*arguments, **named):
        request = sign(*arguments, **named)
        if request["body"]:
            request["body"] = request["body"].replace('"qty":"0.1"', '"qty":"0.9"')
        return request

    await called(client.load_markets, True)
    client.sign = tampered
    with pytest.raises(ccxt.AuthenticationError, match="10004"):
        await buy(venue, client)
    assert await accepted(venue) == []


@pytest.mark.parametrize("difference_ms", [6_000, -2_000])
async def test_a_request_signed_outside_the_window_is_refused(venue: Exchange, difference_ms: int) -> None:
    client = venue.client(options={"timeDifference": difference_ms, "recvWindow": 5_000})
    with pytest.raises(ccxt.InvalidNonce, match="10002"):
        await called(client.fetch_balance)


async def test_a_venue_clock_that_is_off_shows_in_its_time_and_refuses_signatures(venue: Exchange) -> None:
    await venue.ask("POST", "/faults", {"fault": "clock_off", "offset_s": 30})
    with pytest.raises(ccxt.InvalidNonce):
        await called(venue.ccxt.fetch_balance)
    difference = await called(venue.ccxt.load_time_difference)
    assert -31_000 < difference < -29_000
    await called(venue.ccxt.fetch_balance)
    await venue.ask("DELETE", "/faults")
    with pytest.raises(ccxt.InvalidNonce):
        await called(venue.ccxt.fetch_balance)


class Second:
    """A limiter's clock that a test moves by hand."""

    def __init__(self) -> None:
        self.ns = 10**18

    def __call__(self) -> int:
        return self.ns


async def test_more_orders_in_a_second_than_allowed_are_refused_with_the_venues_headers(limited: Exchange) -> None:
    limited.context.limits.now_ns = second = Second()
    for _ in range(10):
        await buy(limited)
    with pytest.raises(ccxt.RateLimitExceeded, match="10006"):
        await buy(limited)
    headers = {name.lower(): value for name, value in limited.ccxt.last_response_headers.items()}
    assert (headers["x-bapi-limit"], headers["x-bapi-limit-status"]) == ("10", "0")
    assert int(headers["x-bapi-limit-reset-timestamp"]) > 0
    await called(limited.ccxt.fetch_open_orders, SWAP)  # queries have a limit of their own
    second.ns += 10**9
    await buy(limited)
    assert len(await accepted(limited)) == 11
    outcomes = [row["outcome"] for row in await limited.ledger("request") if row["path"] == "/v5/order/create"]
    assert [outcome.split()[0] for outcome in outcomes] == ["ok"] * 10 + ["10006", "ok"]


async def test_spot_has_twice_the_orders_and_a_batch_counts_its_members(limited: Exchange) -> None:
    limited.context.limits.now_ns = Second()
    for _ in range(20):
        await called(limited.ccxt.create_order, SPOT, "limit", "buy", 0.1, 90)
    with pytest.raises(ccxt.RateLimitExceeded):
        await called(limited.ccxt.create_order, SPOT, "limit", "buy", 0.1, 90)
    ids = [order["id"] for order in await called(limited.ccxt.fetch_open_orders, SPOT)]
    await called(limited.ccxt.cancel_orders, ids[:10], SPOT)
    await called(limited.ccxt.cancel_orders, ids[10:], SPOT)
    with pytest.raises(ccxt.RateLimitExceeded):
        await called(limited.ccxt.cancel_orders, ids[:1], SPOT)


async def test_an_address_that_asks_too_often_is_shut_out_until_it_was_quiet(limited: Exchange) -> None:
    limited.context.limits.now_ns = second = Second()
    while limited.context.limits.address_allows("127.0.0.1"):
        pass
    with pytest.raises(ccxt.RateLimitExceeded, match="403"):
        await called(limited.ccxt.fetch_balance)
    assert (await limited.ledger("request"))[-1]["outcome"] == "http 403"
    second.ns += 5 * 10**9
    await called(limited.ccxt.fetch_balance)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"fault": "server_error", "status": 503}, ccxt.ExchangeNotAvailable),
        ({"fault": "busy", "status": 429}, ccxt.RateLimitExceeded),
        ({"fault": "busy"}, ccxt.RateLimitExceeded),
        ({"fault": "forbidden"}, ccxt.RateLimitExceeded),
        ({"fault": "drop_before"}, ccxt.NetworkError),
    ],
)
async def test_a_request_that_fails_before_it_is_read_places_nothing(venue: Exchange, fault: dict, error: type) -> None:
    await venue.ask("POST", "/faults", {**fault, "path": "order/create", "count": 1})
    with pytest.raises(error):
        await buy(venue, clientOrderId="first")
    assert await accepted(venue) == []
    await buy(venue, clientOrderId="second")
    assert await accepted(venue) == ["second"]


async def test_a_lost_acknowledgement_leaves_an_order_that_is_found_by_its_client_id(venue: Exchange) -> None:
    await venue.ask("POST", "/faults", {"fault": "ack_lost", "path": "order/create", "count": 1})
    with pytest.raises(ccxt.NetworkError):
        await buy(venue, clientOrderId="lost")
    [order] = await called(venue.ccxt.fetch_open_orders, SWAP, None, None, {"orderLinkId": "lost"})
    assert order["status"] == "open"
    [request] = [row for row in await venue.ledger("request") if row["path"] == "/v5/order/create"]
    assert (request["outcome"], request["answer"]) == ("ok", "lost")
    assert request["body"]["orderLinkId"] == "lost"


async def test_an_answer_that_never_comes_times_out_and_the_order_stands(venue: Exchange) -> None:
    client = venue.client(timeout=300)
    await called(client.load_markets)
    await venue.ask("POST", "/faults", {"fault": "timeout_after", "ms": 600, "path": "order/create", "count": 1})
    with pytest.raises(ccxt.RequestTimeout):
        await buy(venue, client, clientOrderId="late")
    assert await accepted(venue) == ["late"]


async def test_latency_delays_and_ends_by_itself(venue: Exchange) -> None:
    await venue.ask("POST", "/faults", {"fault": "latency", "ms": 150, "seconds": 0.2})
    loop = asyncio.get_running_loop()
    began = loop.time()
    await called(venue.ccxt.fetch_balance)
    assert loop.time() - began >= 0.15
    await asyncio.sleep(0.2)
    assert (await venue.ask("GET", "/faults"))["faults"] == []


async def test_a_rejected_cancel_leaves_the_order_open(venue: Exchange) -> None:
    order = await buy(venue)
    await venue.ask("POST", "/faults", {"fault": "cancels_rejected", "count": 2})
    with pytest.raises(ccxt.BadRequest):
        await called(venue.ccxt.cancel_order, order["id"], SWAP)
    with pytest.raises(ccxt.BadRequest):
        await called(venue.ccxt.cancel_all_orders, SWAP)
    assert len(await called(venue.ccxt.fetch_open_orders, SWAP)) == 1
    await called(venue.ccxt.cancel_order, order["id"], SWAP)
    assert len(await venue.ledger("cancel")) == 1


async def test_partial_fills_take_only_their_share_at_once(venue: Exchange) -> None:
    await venue.ask("POST", "/faults", {"fault": "partial_fills", "share": 0.5, "count": 2})
    taken = await called(venue.ccxt.create_order, SWAP, "market", "buy", 0.8)
    resting = await called(venue.ccxt.create_order, SWAP, "limit", "buy", 0.4, 100.2)
    found = await called(venue.ccxt.fetch_order, taken["id"], SWAP, {"acknowledged": True})
    assert (found["status"], found["filled"]) == ("canceled", 0.4)
    found = await called(venue.ccxt.fetch_order, resting["id"], SWAP, {"acknowledged": True})
    assert (found["status"], found["filled"]) == ("open", 0.2)


async def test_no_order_is_taken_while_trading_is_halted_and_cancels_are(venue: Exchange) -> None:
    order = await buy(venue)
    await venue.ask("POST", "/market", {"halt": "BTCUSDT"})
    with pytest.raises(ccxt.ExchangeError, match="110066"):
        await buy(venue)
    await called(venue.ccxt.cancel_order, order["id"], SWAP)
    await venue.ask("POST", "/market", {"unhalt": True})
    await buy(venue)


async def test_a_request_that_is_not_json_or_not_ours_is_told_so(venue: Exchange) -> None:
    import aiohttp

    from apps.simulator.exchange.auth import signature

    async def post(path: str, body: str) -> dict:
        stamp = str(venue.context.wall_ns() // 1_000_000)
        headers = {
            "X-BAPI-API-KEY": "simkey",
            "X-BAPI-TIMESTAMP": stamp,
            "X-BAPI-RECV-WINDOW": "5000",
            "X-BAPI-SIGN": signature(SECRET, f"{stamp}simkey5000{body}"),
        }
        async with (
            aiohttp.ClientSession() as session,
            session.post(venue.rest + path, data=body, headers=headers) as response,
        ):
            assert response.status == 200
            return await response.json()

    assert (await post("/v5/order/create", "{"))["retCode"] == 10001
    assert (await post("/v5/order/create", "[]"))["retCode"] == 10001
    assert (await post("/v5/order/nothing", "{}"))["retCode"] == 10017
    assert (await post("/v5/order/realtime", "{}"))["retCode"] == 10017
    assert (await post("/v5/order/cancel-batch", '{"category":"linear"}'))["retMsg"].endswith("a list of orders")
