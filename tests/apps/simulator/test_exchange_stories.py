"""Random stories of two accounts on a moving market: the books always add up, and a restart changes nothing."""

import tempfile
from decimal import Decimal
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from apps.simulator.exchange.auth import KeyEntry
from apps.simulator.exchange.engine import Engine
from apps.simulator.exchange.errors import VenueRefusal
from apps.simulator.exchange.faults import Faults
from apps.simulator.exchange.ledger import Ledger
from apps.simulator.exchange.records import ExecutionRecord
from apps.simulator.exchange.store import Store
from apps.simulator.exchange.tickets import ticket_read
from apps.simulator.markets.base import BookEvent, FundingEvent, MarkEvent, PrintEvent
from apps.simulator.markets.board import MarketBoard
from apps.simulator.markets.clock import MarketClock
from tests.apps.simulator.exchange_half import SPECS, START_NS

BALANCES = {"USDT": Decimal(2000), "BTC": Decimal(5)}
ENTRIES = [KeyEntry(name, "x", dict(BALANCES)) for name in ("one", "two")]
KINDS = some.sampled_from(["spot", "linear"])
PRICES = some.integers(94, 106)
SIZES = some.integers(1, 40).map(lambda tenths: Decimal(tenths) / 10)
ORDER = some.fixed_dictionaries(
    {
        "category": KINDS,
        "side": some.sampled_from(["Buy", "Sell"]),
        "orderType": some.sampled_from(["Limit", "Limit", "Market"]),
        "qty": SIZES.map(str),
        "price": PRICES.map(str),
        "timeInForce": some.sampled_from(["GTC", "GTC", "IOC", "FOK", "PostOnly"]),
        "reduceOnly": some.booleans(),
        "triggerPrice": some.one_of(some.just(""), some.just(""), PRICES.map(str)),
        "triggerDirection": some.sampled_from(["1", "2"]),
    }
)
STORY = some.lists(
    some.one_of(
        some.tuples(some.just("order"), some.integers(0, 1), ORDER),
        some.tuples(some.just("order"), some.integers(0, 1), ORDER),
        some.tuples(some.just("cancel"), some.integers(0, 1), some.integers(0, 5)),
        some.tuples(some.just("print"), KINDS, some.tuples(PRICES, SIZES, some.sampled_from(["Buy", "Sell"]))),
        some.tuples(some.just("book"), KINDS, some.tuples(PRICES, SIZES)),
        some.tuples(some.just("mark"), some.none(), PRICES),
        some.tuples(some.just("funding"), some.none(), some.sampled_from(["0.001", "-0.0007"])),
    ),
    max_size=40,
)


class World:
    """An engine on a folder, without any server around it."""

    def __init__(self, folder: Path) -> None:
        self.clock = MarketClock(START_NS, mode="replay", paused=True)
        self.board = MarketBoard(SPECS, START_NS)
        self.store = Store(folder)
        self.engine = Engine(self.store, Ledger(self.store), self.clock, self.board, Faults())
        self.accounts = [self.engine.account_of(entry) for entry in ENTRIES]
        self.specs = {spec.key: spec for spec in SPECS}
        for kind in ("spot", "linear"):
            self.book(kind, (100, Decimal(3)))
            self.print(kind, (100, Decimal(1), "Buy"))
        self.mark(None, 100)

    def tell(self, name: str, event: object) -> None:
        getattr(self.board, name)(event)
        getattr(self.engine, name)(event)

    def order(self, who: int, body: dict) -> None:
        body = {**body, "symbol": "BTCUSDT"}
        if body["category"] == "spot":
            body |= {"marketUnit": "baseCoin", "orderFilter": "StopOrder" if body["triggerPrice"] else "Order"}
        try:
            self.engine.place(self.accounts[who], ticket_read(self.specs, body))
        except VenueRefusal:
            pass

    def cancel(self, who: int, index: int) -> None:
        self.engine.cancel(list(self.engine.active.of(self.accounts[who].uid))[index : index + 1])

    def print(self, kind: str, what: tuple) -> None:
        spec, (price, size, side) = self.specs[kind, "BTCUSDT"], what
        ticks, lots = int(price / spec.tick), int(size / spec.lot)
        self.tell("on_print", PrintEvent(kind, "BTCUSDT", START_NS, ticks, lots, side))

    def book(self, kind: str, what: tuple) -> None:
        spec, (price, size) = self.specs[kind, "BTCUSDT"], what
        ticks, lots = int(price / spec.tick), int(size / spec.lot)
        bids, asks = [(ticks - n, lots) for n in (1, 2, 9)], [(ticks + n, lots) for n in (1, 2, 9)]
        self.tell("on_book", BookEvent(kind, "BTCUSDT", START_NS, bids, asks))

    def mark(self, _: None, price: int) -> None:
        event = MarkEvent("linear", "BTCUSDT", START_NS, price * 10, price * 10, Decimal(0), START_NS)
        self.tell("on_mark", event)

    def funding(self, _: None, rate: str) -> None:
        self.tell("on_funding", FundingEvent("linear", "BTCUSDT", START_NS, Decimal(rate), 1000))

    def executions(self, uid: int) -> list[ExecutionRecord]:
        return self.store.find("execution", ExecutionRecord, {"uid = ?": uid}, 1 << 60, 10_000)[::-1]


def check_sums(world: World) -> None:
    """Each account's coins are its start and what its executions say; each order's totals are those of its fills."""
    for account in world.accounts:
        coins, held, cost = dict(BALANCES), Decimal(0), Decimal(0)
        filled: dict[str, Decimal] = {}
        for execution in world.executions(account.uid):
            sign = 1 if execution.side == "Buy" else -1
            coins[execution.fee_coin] -= execution.fee
            if execution.exec_type == "Funding":
                continue
            filled[execution.order_id] = filled.get(execution.order_id, Decimal(0)) + execution.quantity
            if execution.kind == "spot":
                coins["BTC"] += sign * execution.quantity
                coins["USDT"] -= sign * execution.value
            else:
                held += sign * execution.quantity
                cost += sign * execution.value
        position = account.position("BTCUSDT")
        assert position.quantity == held
        realised = held * position.average - cost
        assert account.wallet("BTC") == coins["BTC"] >= 0
        assert abs(account.wallet("USDT") - coins["USDT"] - realised) < Decimal("1e-9")
        orders = [*world.engine.active.of(account.uid), *world.engine.active.recent(account.uid)]
        for order in orders:
            spec = world.specs[order.key]
            assert spec.quantity(order.filled) == filled.get(order.order_id, 0)
            assert 0 <= order.filled <= order.lots
            assert order.is_open == (order.number in {o.number for o in world.engine.active.of(account.uid)})
        for coin in ("USDT", "BTC"):
            assert world.engine.funds.locked(account, coin) >= 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STORY)
def test_books_add_up_after_every_story_and_a_restart_finds_them_as_they_were(story: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for verb, who, what in story:
            getattr(world, verb)(who, what)
        check_sums(world)
        before = [msgspec.to_builtins(account) for account in world.accounts]
        open_before = [msgspec.to_builtins(order) for a in world.accounts for order in world.engine.active.of(a.uid)]
        world.store.close()
        again = Store(Path(folder))
        engine = Engine(again, Ledger(again), world.clock, world.board, Faults())
        assert [msgspec.to_builtins(account) for account in engine.accounts.values()] == before
        open_after = [msgspec.to_builtins(order) for a in world.accounts for order in engine.active.of(a.uid)]
        assert open_after == open_before
        again.close()
