"""Mean reversion: buy what has fallen unusually far below its recent mean, and leave when it has come back.

How far is unusual moves with the market: where prices deviate more than they usually do, more is
asked for. Long on cash spot; long and short on linear contracts.
"""

from collections.abc import Mapping
from enum import IntEnum
from math import sqrt
from typing import Annotated, NamedTuple

from trader.core.indicators import Feature, leaf, step
from trader.core.indicators.statistics import deviation, zscore
from trader.core.indicators.trend import sma
from trader.core.strategy import PositionView, Range, Strategy, TradePlan
from trader.core.types.bars import FloatArray
from trader.core.types.errors import ConfigurationError
from trader.core.types.timeframes import Timeframe


class Parameters(NamedTuple):
    period: Annotated[int, Range(8, 500, "Bars of the mean and of the deviation.", "bars")] = 20
    regime_period: Annotated[int, Range(10, 2_000, "Bars over which the usual deviation is taken.", "bars")] = 60
    entry: Annotated[float, Range(0.5, 6.0, "Distance that opens a position in a usual market.", "deviations")] = 2.0
    exit: Annotated[float, Range(0.0, 3.0, "Distance from the mean at which a position ends.", "deviations")] = 0.25
    floor: Annotated[float, Range(0.25, 1.0, "Least share of the entry distance, in a quiet market.")] = 0.85
    ceiling: Annotated[float, Range(1.0, 4.0, "Most of the entry distance, in a wild market.")] = 1.4
    longest_s: Annotated[int, Range(60, 864_000, "Time after which a position ends anyhow.", "s")] = 5_400
    stop: Annotated[float, Range(0.001, 0.2, "Distance of the protective stop, as a share of the price.")] = 0.01


class Row(NamedTuple):
    """What a decision sees."""

    z: float
    threshold: float


class Reason(IntEnum):
    INCOMPLETE = 0
    INSIDE_BAND = 1
    BELOW_BAND = 2
    ABOVE_BAND = 3
    REVERTING = 4
    REVERTED = 5
    OUT_OF_TIME = 6


WORDS: Mapping[int, str] = {
    Reason.INCOMPLETE: "A feature is not complete yet.",
    Reason.INSIDE_BAND: "The price is within its usual distance from the mean.",
    Reason.BELOW_BAND: "The price is unusually far below its mean.",
    Reason.ABOVE_BAND: "The price is unusually far above its mean.",
    Reason.REVERTING: "The price is on its way back to the mean.",
    Reason.REVERTED: "The price has come back to its mean.",
    Reason.OUT_OF_TIME: "The price did not come back in time.",
}

# the compiler takes plain numbers
_INSIDE_BAND, _BELOW_BAND, _ABOVE_BAND = int(Reason.INSIDE_BAND), int(Reason.BELOW_BAND), int(Reason.ABOVE_BAND)
_REVERTING, _REVERTED, _OUT_OF_TIME = int(Reason.REVERTING), int(Reason.REVERTED), int(Reason.OUT_OF_TIME)


@step(inputs=("now", "usual"))
def dynamic_threshold(
    state: tuple[()], now: float, usual: float, entry: float, floor: float, ceiling: float
) -> tuple[tuple[()], float]:
    """`entry` times how the deviation now compares with the usual one, held between floor and ceiling.

    NaN when either is NaN; `entry` itself where nothing usually moves.
    """
    ratio = now / usual if usual > 0.0 else 1.0 + 0.0 * (now + usual)
    ratio = floor if ratio < floor else ratio
    ratio = ceiling if ratio > ceiling else ratio
    return (), entry * ratio


def features(p: Parameters) -> dict[str, Feature]:
    return {
        "z": zscore.on("close", period=p.period),
        "deviation": deviation.on("close", period=p.period),
        "usual_deviation": sma.on("deviation", period=p.regime_period),
        "threshold": dynamic_threshold.on(
            "deviation", "usual_deviation", entry=p.entry, floor=p.floor, ceiling=p.ceiling
        ),
    }


@leaf
def decide(row: Row, position: PositionView, p: Parameters) -> tuple[int, float, int]:
    """Direction, strength and reason. A position is kept until it has reverted or run out of time."""
    far = -row.z if row.z < 0.0 else row.z
    strength = far / (2.0 * row.threshold)
    strength = 1.0 if strength > 1.0 else strength
    below = row.z <= -row.threshold
    above = row.z >= row.threshold
    if position.quantity > 0.0 and not above and row.z < -p.exit:
        return (1, strength, _REVERTING) if position.age_s < p.longest_s else (0, 0.0, _OUT_OF_TIME)
    if position.quantity < 0.0 and not below and row.z > p.exit:
        return (-1, strength, _REVERTING) if position.age_s < p.longest_s else (0, 0.0, _OUT_OF_TIME)
    if below:
        return 1, strength, _BELOW_BAND
    if above:
        return -1, strength, _ABOVE_BAND
    return 0, 0.0, _INSIDE_BAND if position.quantity == 0.0 else _REVERTED


def plan(p: Parameters) -> TradePlan:
    return TradePlan(stop_distance=p.stop, horizon_s=int(Timeframe.M1))


def warm_up(p: Parameters) -> int:
    return p.period + p.regime_period - 1


def together(p: Parameters) -> None:
    """A price cannot lie further from the mean than the root of period - 1 deviations: beyond, nothing is ever done."""
    furthest = sqrt(p.period - 1.0)
    if p.entry >= furthest:
        raise ConfigurationError(
            f"parameter 'entry' is {p.entry:g}: with a period of {p.period} no price can be {furthest:.3g} deviations "
            "away; take a longer period or a smaller entry"
        )


def fit(rows: FloatArray, p: Parameters) -> Parameters:
    """A rule has nothing to fit: its parameters are a person's. Sweeps choose among them."""
    return p


STRATEGY = Strategy(
    name="mean_reversion",
    title="Mean reversion",
    timeframe=Timeframe.M1,
    row=Row,
    parameters=Parameters,
    features=features,
    decide=decide,
    reasons=Reason,
    words=WORDS,
    plan=plan,
    warm_up=warm_up,
    fit=fit,
    together=together,
    tags=("rule", "mean reversion"),
)
