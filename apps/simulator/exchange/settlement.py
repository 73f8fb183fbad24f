"""Books matches and funding into accounts. Each movement is booked once, exactly, with its execution row."""

from __future__ import annotations

import uuid
from decimal import Decimal

from apps.simulator.exchange.funds import Funds
from apps.simulator.exchange.records import AccountRecord, ExecutionRecord, OrderRecord
from apps.simulator.markets.base import FundingEvent, InstrumentSpec
from trader.core.simulation.margin import ZERO, funding_payment, holding_trade, spot_fee

MS = 1_000_000


class Settlement:
    """Turns a match into money and into an execution row."""

    def __init__(self, funds: Funds, number_last: int) -> None:
        self._funds = funds
        self._number = number_last

    def trade(
        self, account: AccountRecord, order: OrderRecord, ticks: int, lots: int, is_maker: bool, market_ns: int
    ) -> ExecutionRecord:
        """Book `lots` of an order at `ticks`; the order's own totals follow."""
        spec = self._funds.spec(order.key)
        price, quantity = spec.price(ticks), spec.quantity(lots)
        value = price * quantity
        rate = spec.maker_fee if is_maker else spec.taker_fee
        if spec.kind == "spot":
            fee, coin, closed = self._spot(account, order, spec, quantity, value, rate)
        else:
            fee, coin, closed = self._linear(account, order, spec, quantity, price, value * rate, market_ns)
        order.filled += lots
        order.filled_value += value
        order.fees = {**order.fees, coin: order.fees.get(coin, ZERO) + fee}
        order.status = "Filled" if order.filled >= order.lots else "PartiallyFilled"
        order.updated_ms = market_ns // MS
        return ExecutionRecord(
            number=self._next(),
            uid=account.uid,
            exec_id=str(uuid.uuid4()),
            order_id=order.order_id,
            link_id=order.link_id,
            kind=order.kind,
            symbol=order.symbol,
            side=order.side,
            order_type=order.order_type,
            order_price=order.price,
            order_lots=order.lots,
            left=order.lots - order.filled,
            exec_type="Trade" if order.create_type != "CreateByLiq" else "BustTrade",
            price=price,
            quantity=quantity,
            value=value,
            fee=fee,
            fee_coin=coin,
            fee_rate=rate,
            is_maker=is_maker,
            mark=self._funds.mark(order.key),
            closed=closed,
            stop_order_type="Stop" if order.trigger_price else "",
            create_type=order.create_type,
            market_ns=market_ns,
        )

    def funding(self, account: AccountRecord, event: FundingEvent) -> ExecutionRecord | None:
        """Book a funding payment; None where the account has no position."""
        position = account.positions.get(event.symbol)
        if position is None or not position.quantity:
            return None
        spec = self._funds.spec(event.key)
        mark = spec.price(event.mark_ticks)
        paid = funding_payment(position.quantity, mark, event.rate)
        account.wallet_add(spec.settle, -paid)
        position.realised -= paid
        account.realised[spec.settle] = account.realised.get(spec.settle, ZERO) - paid
        return ExecutionRecord(
            number=self._next(),
            uid=account.uid,
            exec_id=str(uuid.uuid4()),
            order_id="",
            link_id="",
            kind="linear",
            symbol=event.symbol,
            side="Buy" if position.quantity > 0 else "Sell",
            order_type="UNKNOWN",
            order_price=0,
            order_lots=0,
            left=0,
            exec_type="Funding",
            price=mark,
            quantity=abs(position.quantity),
            value=abs(position.quantity) * mark,
            fee=paid,
            fee_coin=spec.settle,
            fee_rate=event.rate,
            is_maker=False,
            mark=mark,
            create_type="",
            market_ns=event.market_ns,
        )

    @staticmethod
    def _spot(
        account: AccountRecord,
        order: OrderRecord,
        spec: InstrumentSpec,
        quantity: Decimal,
        value: Decimal,
        rate: Decimal,
    ) -> tuple[Decimal, str, Decimal]:
        is_buy = order.side == "Buy"
        fee, in_base = spot_fee(is_buy, quantity, value, rate)
        account.wallet_add(spec.base, quantity if is_buy else -quantity)
        account.wallet_add(spec.quote, -value if is_buy else value)
        coin = spec.base if in_base else spec.quote
        account.wallet_add(coin, -fee)
        return fee, coin, ZERO

    @staticmethod
    def _linear(
        account: AccountRecord,
        order: OrderRecord,
        spec: InstrumentSpec,
        quantity: Decimal,
        price: Decimal,
        fee: Decimal,
        market_ns: int,
    ) -> tuple[Decimal, str, Decimal]:
        position, ms = account.position_kept(spec.symbol), market_ns // MS
        before = position.quantity
        holding, realised = holding_trade(position.holding, quantity * order.sign, price)
        if not before and holding.quantity:
            position.created_ms = ms
        position.quantity, position.average = holding.quantity, holding.average
        position.updated_ms = ms
        position.sequence += 1
        net = realised - fee
        position.realised += net
        account.realised[spec.settle] = account.realised.get(spec.settle, ZERO) + net
        account.wallet_add(spec.settle, net)
        closed = min(abs(before), quantity) if before * order.sign < 0 else ZERO
        return fee, spec.settle, closed

    def _next(self) -> int:
        self._number += 1
        return self._number
