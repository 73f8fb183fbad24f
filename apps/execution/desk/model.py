"""What a desk keeps in memory of one order, and of the decision and signal that made it."""

from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

import msgspec

from apps.execution.brokers.base import Market, OrderRef, OrderRequest
from apps.execution.events import OrderChanged
from apps.execution.states import FINAL, OrderState
from apps.strategies.events import SignalChanged

ENTRY, EXIT, STOP, FLATTEN, MANUAL = "entry", "exit", "stop", "flatten", "manual"
UNATTRIBUTED_OWNER = "unattributed"


class DeskOrder(msgspec.Struct, kw_only=True):
    """One order of ours. The row in the database follows it; `fence` is of the desk that wrote it last."""

    id: int
    client_id: str
    account_id: int
    market: Market
    owner: str
    leg: str
    side: str
    kind: str
    quantity: Decimal
    adds_risk: bool
    market_ns: int
    revision: int = 0
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    time_in_force: str = "GTC"
    reduce_only: bool = False
    decision_id: UUID | None = None
    signal_id: int | None = None
    parent_id: int | None = None
    state: OrderState = OrderState.CREATED
    filled: Decimal = Decimal(0)
    average_price: Decimal | None = None
    cost: Decimal = Decimal(0)
    venue_order_id: str = ""
    origin: str = ""
    detail: str = ""
    sent_ns: int | None = None
    reported_filled: Decimal = Decimal(0)
    is_journalled: bool = False
    is_counted: bool = False

    @property
    def is_open(self) -> bool:
        return self.state not in FINAL

    @property
    def is_stop(self) -> bool:
        return self.trigger_price is not None

    @property
    def could_add_risk(self) -> bool:
        """Whether it adds risk, or would if the position were gone: on contracts only the venue binds it to reduce."""
        return self.adds_risk or (self.market.kind == "linear" and not self.reduce_only)

    @property
    def locks_coins(self) -> bool:
        """Whether it rests on spot and keeps what it would sell: nothing else can sell it then. None is made here."""
        return self.market.kind == "spot" and self.side == "sell" and self.kind == "limit" and not self.is_stop

    @property
    def left(self) -> Decimal:
        """What may still fill."""
        return self.quantity - self.filled if self.is_open else Decimal(0)

    @property
    def sign(self) -> int:
        return 1 if self.side == "buy" else -1

    @property
    def owes_fills(self) -> bool:
        """Whether the venue has told of more than its executions have shown so far."""
        return self.reported_filled > self.filled

    def ref(self) -> OrderRef:
        """How the venue knows it."""
        return OrderRef(self.client_id, self.venue_order_id, self.market, self.is_stop)

    def request(self) -> OrderRequest:
        """What goes to the venue."""
        return OrderRequest(
            client_id=self.client_id,
            market=self.market,
            side=self.side,
            kind=self.kind,
            quantity=self.quantity,
            price=self.price,
            trigger_price=self.trigger_price,
            time_in_force=self.time_in_force,
            reduce_only=self.reduce_only,
        )

    def event(self, wall_ns: int) -> OrderChanged:
        """The order as the rest sees it."""
        return OrderChanged(
            id=self.id,
            client_id=self.client_id,
            account_id=self.account_id,
            instrument_id=self.market.instrument_id,
            symbol=self.market.symbol,
            owner=self.owner,
            decision_id=str(self.decision_id) if self.decision_id else None,
            leg=self.leg,
            revision=self.revision,
            side=self.side,
            kind=self.kind,
            quantity=plain(self.quantity),
            price=plain_or_none(self.price),
            trigger_price=plain_or_none(self.trigger_price),
            reduce_only=self.reduce_only,
            adds_risk=self.adds_risk,
            state=str(self.state),
            filled=plain(self.filled),
            average_price=plain_or_none(self.average_price),
            origin=self.origin,
            detail=self.detail,
            market_ns=self.market_ns,
            wall_ns=wall_ns,
        )


@dataclass(slots=True)
class DeskDecision:
    """One call of a strategy, as it goes into its row."""

    id: UUID
    deployment_id: int
    deployment: str
    instrument_id: int
    symbol: str
    bar_open_ns: int
    bar_revision: int
    market_ns: int
    outcome: str
    reason: str
    direction: int
    strength: float
    features: dict[str, float | dict[str, str] | None]
    members: tuple[int, ...]


@dataclass(slots=True)
class DeskSignal:
    """A signal and its state; its row is written with the decision's."""

    id: int
    decision: DeskDecision
    account_id: int
    horizon_s: int
    state: str = "new"
    refused_by: str = ""
    detail: str = ""
    orders: list[str] = field(default_factory=list)

    def event(self, wall_ns: int) -> SignalChanged:
        """The signal as the rest sees it."""
        decision = self.decision
        shown = {name: value for name, value in decision.features.items() if not isinstance(value, dict)}
        return SignalChanged(
            id=self.id,
            decision_id=str(decision.id),
            account_id=self.account_id,
            instrument_id=decision.instrument_id,
            symbol=decision.symbol,
            deployment=decision.deployment,
            direction=decision.direction,
            strength=decision.strength,
            horizon_s=self.horizon_s,
            reason=decision.reason,
            state=self.state,
            market_ns=decision.market_ns,
            wall_ns=wall_ns,
            refused_by=self.refused_by,
            detail=self.detail[:200],
            features=shown,
        )


def plain(value: Decimal) -> str:
    """Return a decimal without exponent or trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain_or_none(value: Decimal | None) -> str | None:
    """As `plain`; None stays None."""
    return None if value is None else plain(value)
