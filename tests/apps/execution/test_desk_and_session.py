"""The desk and the core's session are two drivers of the same parts: on the same bars they decide and size the same."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from apps.market.selectors import bars_read, terms_now
from apps.portfolio.models import CashMovement
from apps.strategies.library.mean_reversion import STRATEGY
from tests.apps.execution.living import SPOT, START_NS, WARM, Living, living
from tests.apps.risk.fixtures import kill_clear
from trader.core.engine import Pipeline, SessionResult, Terms
from trader.core.engine.replay import replay
from trader.core.portfolio import Contract

__all__ = ["kill_clear"]
pytestmark = [pytest.mark.stack, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kill_clear")]
MINUTE_NS = 60_000_000_000


async def test_desk_and_session_decide_and_size_the_same_on_the_same_bars() -> None:
    async with living({WARM + 3: -0.006, WARM + 8: 0.008}) as made:
        await made.minutes(WARM + 20)
        rows = await made.rows(
            "SELECT bar_open, outcome, direction, reason, features FROM strategies_decision ORDER BY bar_open"
        )
        ordered = await made.rows("SELECT quantity FROM execution_order WHERE leg = 'entry'")
        result = await sync_to_async(session_of)(made)
    kept = [
        (ns_of(at), outcome, direction, reason, seen(features)) for at, outcome, direction, reason, features in rows
    ]
    first = kept[0][0]
    again = [
        (at - MINUTE_NS, one.outcome, one.direction, one.reason, bits(one.features))
        for at, _, one in result.decisions
        if at - MINUTE_NS >= first
    ]
    assert len(kept) >= 20
    assert again == kept
    assert {"signal", "hold"} == {outcome for _, outcome, *_ in kept}
    # the first entry: the same equity, the same close, the same lots
    assert ordered[0][0] == next(fill.quantity for fill in result.fills if fill.leg == "entry")


def session_of(made: Living) -> SessionResult:
    """Run the deployment's strategy over the bars in storage, with the account's opening cash."""
    instrument = made.instrument(SPOT)
    bars = bars_read(made.epoch_id, instrument, 60)
    venue = terms_now([instrument])[instrument]
    contract = Contract("spot", "BTC", "USDT", "USDT")
    terms = Terms(contract, venue.tick, venue.lot, venue.min_quantity, venue.min_notional, taker_fee=venue.taker_fee)
    cash = CashMovement.objects.get(account_id=made.account_id, currency="USDT", kind="opening").amount
    deployed = made.parts.decider.deployments[made.deployment]
    pipeline = Pipeline(STRATEGY, deployed.row.parameters, ["spot"])
    return replay(pipeline, [terms], {0: bars}, cash=Decimal(cash), sizing=deployed.sizing, trade_from_ns=START_NS)


def ns_of(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


def bits(features: Mapping[str, float]) -> dict[str, str]:
    return {name: value.hex() for name, value in features.items()}


def seen(features: dict[str, Any]) -> dict[str, str]:
    """The features alone: the position is filled at another price, and so seen differently."""
    return {name: bit for name, bit in features["_bits"].items() if name not in ("position", "average_price", "age_s")}
