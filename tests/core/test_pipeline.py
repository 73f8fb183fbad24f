"""The pipeline of a deployment: decisions, checkpoints, and what is blocked."""

from dataclasses import replace
from typing import Annotated, NamedTuple

import numpy as np
import pytest

from apps.strategies.library.mean_reversion import STRATEGY, Reason
from tests.core.catalogue import random_walk
from trader.core.engine import Pipeline, PositionView
from trader.core.engine.decider import Decider
from trader.core.indicators import leaf
from trader.core.strategy import Parameter, Range, code_hash
from trader.core.strategy.parameters import parameters_of
from trader.core.types.errors import ConfigurationError, KernelError, StateError

FAST = {"period": 12, "regime_period": 10}
LONG = PositionView(2.0, 100.0, 60.0)
SHORT = PositionView(-2.0, 100.0, 60.0)


def bars(n=200, seed=7):
    close = random_walk(n, seed)
    return np.column_stack([close, close + 0.1, close - 0.1, close, np.ones(n)])


def decided_after(last_close, kind="linear", position=None, **parameters):
    """The decision on a bar that closes at `last_close`, after a calm market around 100."""
    pipeline = Pipeline(STRATEGY, {**FAST, **parameters}, [kind])
    calm = 100.0 + np.tile([0.05, -0.05], 30)
    pipeline.warm(0, np.column_stack([calm, calm, calm, calm, np.ones(60)]))
    row = (last_close, last_close, last_close, last_close, 1.0)
    return pipeline.step(0, row, position or PositionView())


def test_an_unusual_fall_is_bought_and_says_why():
    decided = decided_after(99.0)
    assert (decided.direction, decided.reason, decided.outcome) == (1, "below_band", "signal")
    assert 0.0 < decided.strength <= 1.0
    assert decided.features["z"] < -decided.features["threshold"]
    assert "below" in decided.words


def test_an_unusual_rise_is_sold_on_contracts_and_is_no_wish_on_spot():
    assert decided_after(101.0).direction == -1
    spot = decided_after(101.0, kind="spot")
    assert (spot.direction, spot.reason, spot.outcome) == (0, "above_band", "hold")


def test_an_unusual_rise_ends_a_long_on_spot_and_turns_it_on_contracts():
    assert (decided_after(101.0, "spot", LONG).direction, decided_after(101.0, "spot", LONG).outcome) == (0, "signal")
    assert decided_after(101.0, "linear", LONG).direction == -1


def test_inside_the_band_nothing_is_wanted():
    decided = decided_after(100.02)
    assert (decided.direction, decided.reason, decided.outcome) == (0, "inside_band", "hold")


def test_a_position_is_kept_while_it_reverts_and_ends_when_it_has():
    kept = decided_after(99.95, position=LONG)
    assert (kept.direction, kept.reason, kept.outcome) == (1, "reverting", "hold")
    ended = decided_after(100.03, position=LONG)
    assert (ended.direction, ended.reason, ended.outcome) == (0, "reverted", "signal")
    short = decided_after(100.06, position=SHORT)
    assert (short.direction, short.reason, short.outcome) == (-1, "reverting", "hold")
    assert decided_after(99.97, position=SHORT).reason == "reverted"


def test_a_position_ends_when_its_time_is_up():
    late = decided_after(99.95, position=LONG._replace(age_s=5_400.0))
    assert (late.direction, late.reason, late.outcome) == (0, "out_of_time", "signal")
    assert decided_after(100.06, position=SHORT._replace(age_s=9_999.0)).reason == "out_of_time"


def test_more_is_asked_for_in_a_wild_market_and_never_beyond_the_ceiling():
    pipeline = Pipeline(STRATEGY, FAST, ["linear"])
    features = pipeline.batch(bars(2_000))
    threshold = features[:, pipeline.feature_names.index("threshold")]
    threshold = threshold[np.isfinite(threshold)]
    assert threshold.min() == pytest.approx(2.0 * 0.85)
    assert threshold.max() == pytest.approx(2.0 * 1.4)
    assert len(np.unique(threshold)) > 100


def test_until_warm_decisions_are_blocked_and_then_no_longer():
    pipeline = Pipeline(STRATEGY, FAST, ["spot"])
    outcomes = [pipeline.step(0, row).outcome for row in bars(50).tolist()]
    assert outcomes[: pipeline.warm_up - 1] == ["blocked"] * (pipeline.warm_up - 1)
    assert "blocked" not in outcomes[pipeline.warm_up - 1 :]


def test_a_bar_that_is_not_a_number_blocks_and_asks_for_nothing():
    pipeline = Pipeline(STRATEGY, FAST, ["spot"])
    pipeline.warm(0, bars(60))
    decided = pipeline.step(0, (np.nan,) * 5, LONG)
    assert (decided.outcome, decided.direction, decided.reason) == ("blocked", 0, "incomplete")


def test_a_late_bar_is_stepped_and_not_decided():
    rows = bars(60)
    pipeline, other = (Pipeline(STRATEGY, FAST, ["spot"]) for _ in range(2))
    for row in rows[:-1].tolist():
        assert pipeline.step(0, row, decide=False).outcome == "late"
    other.warm(0, rows[:-1])
    assert pipeline.step(0, rows[-1]) == other.step(0, rows[-1])
    assert pipeline.bars_taken(0) == 60


def test_live_features_equal_the_batch_to_the_bit():
    rows = bars()
    pipeline = Pipeline(STRATEGY, FAST, ["spot", "linear"])
    live = np.array([list(pipeline.step(1, row).features.values()) for row in rows.tolist()])
    assert live.tobytes() == pipeline.batch(rows).tobytes()


def test_a_restored_pipeline_decides_the_same():
    rows = bars().tolist()
    one, other = (Pipeline(STRATEGY, FAST, ["linear"]) for _ in range(2))
    for row in rows[:101]:
        one.step(0, row)
    other.restore(0, one.snapshot(0))
    assert [one.step(0, row) for row in rows[101:]] == [other.step(0, row) for row in rows[101:]]
    other.reset(0)
    assert other.step(0, rows[0]).outcome == "blocked"


def test_a_checkpoint_of_other_parameters_or_garbage_is_refused():
    one = Pipeline(STRATEGY, FAST, ["spot"])
    other = Pipeline(STRATEGY, {**FAST, "entry": 2.5}, ["spot"])
    with pytest.raises(StateError, match="other code or parameters"):
        other.restore(0, one.snapshot(0))
    with pytest.raises(StateError, match="cannot be read"):
        one.restore(0, b"garbage")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"period": 7}, "period.*from 8 to 500"),
        ({"period": 20.5}, "period.*whole number"),
        ({"entry": float("nan")}, "entry"),
        ({"entry": "2"}, "entry.*a number"),
        ({"period": True}, "period"),
        ({"period": 20, "entry": 5.0}, "entry.*longer period"),
        ({"speed": 1}, "speed.*unknown.*there are period"),
    ],
)
def test_parameters_out_of_range_or_unknown_are_named(given, words):
    with pytest.raises(ConfigurationError, match=words):
        Pipeline(STRATEGY, given, ["spot"])


def test_parameters_are_listed_with_default_range_and_words():
    listed = {parameter.name: parameter for parameter in STRATEGY.parameter_list()}
    assert listed["period"] == Parameter(
        "period", int, 20, Range(8, 500, "Bars of the mean and of the deviation.", "bars")
    )
    assert STRATEGY.parameters_checked({}) == STRATEGY.parameters()
    assert STRATEGY.fit(bars(3), STRATEGY.parameters()) == STRATEGY.parameters()
    assert STRATEGY.plan(STRATEGY.parameters()).stop_distance == 0.01


def test_a_parameter_without_range_or_default_is_refused():
    class NoRange(NamedTuple):
        period: int = 5

    class NoDefault(NamedTuple):
        period: Annotated[int, Range(1, 2, "x")]

    for wrong in (NoRange, NoDefault):
        with pytest.raises(ConfigurationError, match="period"):
            parameters_of(wrong)


@leaf
def wishes_too_much(row, position, parameters):
    return 2, 0.5, 1


@leaf
def wishes_unknown(row, position, parameters):
    return 1, row.z - row.z + 1e308 * 10.0, 1


@pytest.mark.parametrize("wrong", [wishes_too_much, wishes_unknown])
def test_a_wish_that_cannot_be_is_an_error_and_no_order(wrong):
    parameters = np.array(STRATEGY.parameters(), dtype=np.float64)
    decider = Decider(replace(STRATEGY, decide=wrong), parameters)
    with pytest.raises(KernelError, match="must be -1, 0 or 1"):
        decider.one(np.array([[0.5, 2.0]]), PositionView())


@leaf
def decides_with_text(row, position, parameters):
    side = {True: 1, False: -1}[row.z < 0.0]
    return side, 0.5, 1


@pytest.mark.compiler
def test_a_strategy_that_does_not_compile_runs_in_python_and_says_why():
    pipeline = Pipeline(replace(STRATEGY, decide=decides_with_text), FAST, ["linear"])
    pipeline.warm(0, bars(60))
    assert pipeline.step(0, (90.0, 90.0, 90.0, 90.0, 1.0)).direction == 1
    assert any("does not compile" in remark for remark in pipeline.remarks)
    assert any("a dict is not allowed" in remark for remark in pipeline.remarks)


def test_a_strategy_that_compiles_has_no_remarks():
    assert Pipeline(STRATEGY, FAST, ["spot"]).remarks == []


def test_a_row_that_wants_what_is_not_declared_is_refused():
    class Row(NamedTuple):
        z: float
        moon: float

    with pytest.raises(KernelError, match="moon"):
        Pipeline(replace(STRATEGY, row=Row), {}, ["spot"])


def test_a_strategy_says_every_reason_in_words():
    assert set(STRATEGY.words) == {int(reason) for reason in Reason}
    with pytest.raises(KernelError, match="OUT_OF_TIME"):
        replace(STRATEGY, words={k: v for k, v in STRATEGY.words.items() if k != Reason.OUT_OF_TIME})


def test_the_code_hash_names_the_code():
    assert len(code_hash(STRATEGY)) == 64
    assert code_hash(STRATEGY) == code_hash(STRATEGY)
    assert code_hash(replace(STRATEGY, name="other")) != code_hash(STRATEGY)
