"""What an account has, what its orders and positions bind, and what is free. Exact decimals, in coin units.

Cross margin in the settle coin. Only that coin is collateral: other coins count in the total equity
that is shown, not in what may be risked. Unrealised profit backs contracts, it never pays for spot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from apps.simulator.exchange.records import AccountRecord, OrderRecord
from apps.simulator.markets.base import InstrumentSpec, Key
from apps.simulator.markets.board import MarketBoard
from trader.core.simulation.margin import ZERO, initial_margin, liquidation_price, maintenance_margin

LEVERAGE_DEFAULT = Decimal(10)
DOLLARS = frozenset({"USDT", "USDC", "USD"})


@dataclass(frozen=True, slots=True)
class MarginState:
    """An account in one settle coin: wallet, what its contracts make and bind, and what spot orders lock."""

    wallet: Decimal
    unrealised: Decimal
    position_margin: Decimal
    order_margin: Decimal
    maintenance: Decimal
    locked: Decimal

    @property
    def equity(self) -> Decimal:
        """Return wallet and unrealised profit."""
        return self.wallet + self.unrealised

    @property
    def available(self) -> Decimal:
        """Return what new contracts may bind."""
        return self.equity - self.locked - self.position_margin - self.order_margin

    @property
    def spendable(self) -> Decimal:
        """Return what spot may spend: never more than the coins that are there."""
        return min(self.available, self.wallet - self.locked)


class Funds:
    """Reads accounts, their open orders and the board."""

    def __init__(self, board: MarketBoard, open_orders: Callable[[int], Iterable[OrderRecord]]) -> None:
        self._board = board
        self._open_orders = open_orders

    def spec(self, key: Key) -> InstrumentSpec:
        """Return an instrument's terms."""
        return self._board[key].spec

    def last_ticks(self, key: Key) -> int:
        """Return the last price; before any print the middle of the book."""
        state = self._board[key]
        if state.last:
            return state.last
        if state.bids and state.asks:
            return (state.bids[0][0] + state.asks[0][0]) // 2
        return 0

    def mark_ticks(self, key: Key) -> int:
        """Return the mark price; the last price where there is no mark."""
        return self._board[key].mark or self.last_ticks(key)

    def index_ticks(self, key: Key) -> int:
        """Return the index price; the mark where there is none."""
        return self._board[key].index or self.mark_ticks(key)

    def mark(self, key: Key) -> Decimal:
        """Return the mark price in quote units."""
        return self.spec(key).price(self.mark_ticks(key))

    def dollars(self, coin: str) -> Decimal:
        """Return what one coin is worth in USD; 0 where no market here says."""
        if coin in DOLLARS:
            return Decimal(1)
        for quote in ("USDT", "USDC", "USD"):
            key = ("spot", f"{coin}{quote}")
            if self._board.find(*key) is not None:
                return self.spec(key).price(self.last_ticks(key))
        return ZERO

    def locked(self, account: AccountRecord, coin: str) -> Decimal:
        """Return what resting spot orders hold of a coin; orders that wait for a trigger hold nothing."""
        total = ZERO
        for order in self._open_orders(account.uid):
            if order.kind != "spot" or order.is_waiting:
                continue
            spec = self.spec(order.key)
            if order.side == "Sell" and spec.base == coin:
                total += spec.quantity(order.left)
            elif order.side == "Buy" and spec.quote == coin:
                total += spec.price(order.price) * spec.quantity(order.left)
        return total

    def free(self, account: AccountRecord, coin: str) -> Decimal:
        """Return what may be sold or spent on spot of a coin."""
        return max(ZERO, self.margin(account, coin).spendable)

    def leverage(self, account: AccountRecord, spec: InstrumentSpec) -> Decimal:
        """Return the leverage set for a contract; 10 at first, or less where less is allowed."""
        return account.leverages.get(spec.symbol, min(LEVERAGE_DEFAULT, spec.max_leverage))

    def margin(self, account: AccountRecord, coin: str, extra: OrderRecord | None = None) -> MarginState:
        """Return how an account stands in a settle coin, as if `extra` were one of its open orders."""
        orders = [o for o in self._open_orders(account.uid) if o.kind == "linear" and not o.is_waiting]
        if extra is not None and extra.kind == "linear":
            orders.append(extra)
        symbols = {symbol for symbol, position in account.positions.items() if position.quantity}
        symbols.update(order.symbol for order in orders)
        unrealised = position_margin = order_margin = maintenance = ZERO
        for symbol in symbols:
            spec = self.spec(("linear", symbol))
            if spec.settle != coin:
                continue
            position, mark = account.position(symbol), self.mark(spec.key)
            held = position.quantity * mark
            bound = self._symbol_margin(account, spec, held, [o for o in orders if o.symbol == symbol])
            of_position = initial_margin(held, self.leverage(account, spec))
            unrealised += position.holding.unrealised(mark)
            position_margin += of_position
            order_margin += bound - of_position
            maintenance += maintenance_margin(held)
        wallet, locked = account.wallet(coin), self.locked(account, coin)
        return MarginState(wallet, unrealised, position_margin, order_margin, maintenance, locked)

    def liquidation(self, account: AccountRecord, spec: InstrumentSpec) -> Decimal:
        """Return the mark at which the account would be liquidated if only this contract moved; 0 for never."""
        position = account.position(spec.symbol)
        if not position.quantity:
            return ZERO
        state = self.margin(account, spec.settle)
        mark = self.mark(spec.key)
        others = state.maintenance - maintenance_margin(position.quantity * mark)
        without = state.equity - position.holding.unrealised(mark) - others
        return liquidation_price(position.holding, without, spec.tick)

    def _symbol_margin(
        self, account: AccountRecord, spec: InstrumentSpec, held: Decimal, orders: list[OrderRecord]
    ) -> Decimal:
        """Return the margin of the worse side: the position with all its buys filled, or with all its sells."""
        buys = sells = ZERO
        for order in orders:
            if order.reduce_only:
                continue
            value = spec.price(order.price or self.mark_ticks(spec.key)) * spec.quantity(order.left)
            if order.side == "Buy":
                buys += value
            else:
                sells += value
        leverage = self.leverage(account, spec)
        worst = max(abs(held), held + buys, sells - held)
        fees = max(ZERO, worst - abs(held)) * spec.taker_fee
        return initial_margin(worst, leverage) + fees
