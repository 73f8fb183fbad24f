"""Contracts of two settle coins at the simulator: the venue tells one coin at a time, a broker tells all."""

import json
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from apps.execution.brokers.base import Market, OrderRequest
from apps.execution.brokers.bybit.adapter import BybitBroker
from apps.execution.brokers.gate import SendGate, Sending, sending
from apps.market.models import Venue
from apps.market.services import exchange_configuration
from tests.apps.execution.living import WARM, Exchange, file_make, prices_make

pytestmark = pytest.mark.stack
D = Decimal
PREFIX = "0a1b"


def contract(number: int, coin: str) -> Market:
    return Market(number, f"BTC/{coin}:{coin}", f"BTC{coin}", "linear", "BTC", coin, coin, D("0.01"), D(1), D(1), D(0))


@pytest.fixture
def exchange(tmp_path: Path):
    made = Exchange(tmp_path, tmp_path, WARM, WARM + 9, "usdt=BTC/USDT:USDT,usdc=BTC/USDC:USDC")
    for name in ("usdt", "usdc"):
        file_make(tmp_path / f"{name}.csv", prices_make(WARM + 10, {}))
    state = tmp_path / "state"
    state.mkdir()
    balances = {"USDT": "10000", "USDC": "10000"}
    (state / "keys.json").write_text(json.dumps([{"key": "k", "secret": "s", "balances": balances}]))
    (state / "keys.json").chmod(0o600)
    try:
        made.start(state)
        yield made
    finally:
        made.stop()


async def test_orders_and_positions_of_every_settle_coin_are_told(exchange: Exchange) -> None:
    venue = Venue(code="sim", adapter="bybit", rest_url=exchange.rest, socket_url=exchange.rest.replace("http", "ws"))
    configuration = {**exchange_configuration(venue), "apiKey": "k", "secret": "s"}
    markets = [contract(1, "USDT"), contract(2, "USDC")]
    broker = BybitBroker(configuration, markets, PREFIX, SendGate(SimpleNamespace()))
    await broker.connect()
    token = sending.set(Sending(adds_risk=False))
    try:
        for index, market in enumerate(markets):
            ids = [f"{PREFIX}{index}{place}{'0' * 26}" for place in range(2)]
            await broker.create(OrderRequest(ids[0], market, "buy", "limit", D(1), price=D("90")))
            await broker.create(OrderRequest(ids[1], market, "buy", "market", D(2)))
        opened = await broker.open_orders("linear")
        held = await broker.positions()
    finally:
        sending.reset(token)
        await broker.close()
    assert sorted((order.venue_symbol, order.quantity) for order in opened) == [
        ("BTCUSDC", D(1)),
        ("BTCUSDT", D(1)),
    ]
    assert {position.venue_symbol: position.quantity for position in held} == {
        "BTCUSDC": D(2),
        "BTCUSDT": D(2),
    }
