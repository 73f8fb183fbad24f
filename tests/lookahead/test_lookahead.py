"""No look-ahead: cutting the future off, or putting another one there, changes nothing that was said before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.strategies.library.mean_reversion import STRATEGY
from tests.core.catalogue import every_step, inputs_for, outputs, parameters_for, random_walk
from trader.core.engine import Pipeline, PositionView

BARS = 240
STEPS = pytest.mark.parametrize("each", every_step(), ids=lambda s: s.name)
STRATEGIES = pytest.mark.parametrize("strategy", [STRATEGY], ids=lambda s: s.name)
SMALL = {"mean_reversion": {"period": 12, "regime_period": 10}}


def bars(n=BARS, seed=7):
    close = random_walk(n, seed)
    return np.column_stack([close, close + 0.1, close - 0.1, close, np.ones(n)])


@STEPS
@pytest.mark.parametrize("period", [2, 14])
def test_cutting_the_future_off_changes_nothing(each, period):
    columns, bound = inputs_for(each, random_walk(BARS)), parameters_for(each, period)
    whole = outputs(each.batch(*columns, **bound))
    for cut in (1, period, period + 1, 100, BARS - 1):
        part = outputs(each.batch(*(column[:cut] for column in columns), **bound))
        assert all(a[:cut].tobytes() == b.tobytes() for a, b in zip(whole, part, strict=True))


@STEPS
@settings(max_examples=10, deadline=None)
@given(cut=st.integers(1, BARS - 1), what=st.sampled_from([np.nan, np.inf, 0.0, -1e9, 1e9]))
def test_another_future_changes_nothing(each, cut, what):
    columns, bound = inputs_for(each, random_walk(BARS)), parameters_for(each, 5)
    whole = outputs(each.batch(*columns, **bound))
    changed = [np.concatenate([column[:cut], np.full(BARS - cut, what)]) for column in columns]
    other = outputs(each.batch(*changed, **bound))
    assert all(a[:cut].tobytes() == b[:cut].tobytes() for a, b in zip(whole, other, strict=True))


@STRATEGIES
def test_every_feature_of_a_strategy_is_the_same_without_its_future(strategy):
    rows = bars()
    pipeline = Pipeline(strategy, SMALL[strategy.name], ["linear"])
    whole = pipeline.batch(rows)
    for cut in (1, 30, 100, BARS - 1):
        assert pipeline.batch(rows[:cut]).tobytes() == whole[:cut].tobytes()


@STRATEGIES
def test_decisions_are_the_same_without_their_future(strategy):
    rows = bars()
    changed = np.vstack([rows[:120], bars(seed=8)[120:]])
    positions = [PositionView(float(i % 3 - 1), 100.0, 60.0 * i) for i in range(BARS)]

    def decided(some):
        pipeline = Pipeline(strategy, SMALL[strategy.name], ["linear"])
        return [pipeline.step(0, row, position) for row, position in zip(some.tolist(), positions, strict=False)]

    # without their future, and with another: compared as text, where a NaN equals itself
    assert repr(decided(rows)[:120]) == repr(decided(rows[:120])) == repr(decided(changed)[:120])
    assert repr(decided(rows)) != repr(decided(changed))


def test_the_check_finds_a_step_that_looks_ahead():
    # a step cannot see the future; a feature computed outside the machinery could
    x = random_walk(BARS)
    peeking = np.append(x[1:], np.nan)
    assert peeking[:99].tobytes() == np.append(x[1:100], np.nan)[:99].tobytes()
    assert peeking[:100].tobytes() != np.append(x[1:100], np.nan)[:100].tobytes()
