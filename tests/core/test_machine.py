"""Plans and machines: several features over one arena, live, in batch and restored, equal to the bit."""

import numpy as np
import pytest

from tests.core.catalogue import every_step, parameters_for, random_walk
from trader.core.indicators import statistics, trend, volatility
from trader.core.indicators.machine import Machine, features_batch
from trader.core.indicators.plan import Plan
from trader.core.types.errors import KernelError, StateError

BARS = 300


def bars(seed=7, n=BARS):
    close = random_walk(n, seed)
    rng = np.random.default_rng(seed)
    return np.column_stack([close, close + 0.1, close - 0.1, close + 0.02, rng.gamma(2.0, size=n)])


def whole_plan():
    """Every step there is, over columns and over each other: windows of several lengths share one history."""
    columns = ("close", "high", "low", "volume")
    features = {}
    for each in every_step():
        for period in (3, 14):
            inputs = each.inputs if set(each.inputs) <= set(columns) else columns[: len(each.inputs)]
            features[f"{each.name}_{period}"] = each.on(*inputs, **parameters_for(each, period))
    features["sma_of_deviation"] = trend.sma.on("deviation_14", period=30)
    features["zscore_of_that"] = statistics.zscore.on("sma_of_deviation", period=9)
    features["upper"] = volatility.bollinger.on("close", period=14, width=1.5).take("upper")
    return Plan(features)


@pytest.fixture(scope="module")
def plan():
    return whole_plan()


def test_live_batch_and_many_rows_at_once_agree_to_the_bit(plan):
    rows = bars()
    live, many = Machine(plan, 1), Machine(plan, 1)
    one_by_one = np.array([live.step(0, row).copy() for row in rows])
    assert one_by_one.tobytes() == many.run(0, rows).tobytes()
    assert one_by_one.tobytes() == features_batch(plan, rows).tobytes()
    assert live.bars_taken(0) == BARS


def test_gaps_of_nan_change_nothing_about_that(plan):
    rows = bars()
    rows[100:103] = np.nan
    rows[150, 3] = np.inf
    live = Machine(plan, 1)
    one_by_one = np.array([live.step(0, row).copy() for row in rows])
    assert one_by_one.tobytes() == features_batch(plan, rows).tobytes()


def test_instruments_do_not_see_each_other(plan):
    first, second = bars(1), bars(2)
    machine = Machine(plan, 2)
    got = ([], [])
    for i in range(BARS):
        got[0].append(machine.step(0, first[i]).copy())
        if i % 3:  # out of step
            got[1].append(machine.step(1, second[len(got[1])]).copy())
    assert np.array(got[0]).tobytes() == features_batch(plan, first).tobytes()
    assert np.array(got[1]).tobytes() == features_batch(plan, second)[: len(got[1])].tobytes()


def test_a_snapshot_is_the_whole_state(plan):
    rows = bars()
    machine, other = Machine(plan, 1), Machine(plan, 1)
    machine.run(0, rows[:123])
    other.restore(0, machine.snapshot(0))
    assert machine.run(0, rows[123:]).tobytes() == other.run(0, rows[123:]).tobytes()
    other.reset(0)
    assert other.bars_taken(0) == 0
    assert other.run(0, rows).tobytes() == features_batch(plan, rows).tobytes()
    with pytest.raises(StateError, match="does not fit"):
        other.restore(0, b"12345678")


def test_equal_work_is_done_once():
    plan = Plan(
        {
            "a": trend.sma.on("close", period=5),
            "b": trend.sma.on("close", period=5),
            "upper": volatility.bollinger.on("close", period=5, width=2.0).take("upper"),
            "lower": volatility.bollinger.on("close", period=5, width=2.0).take("lower"),
        }
    )
    assert len(plan.works) == 2
    block = features_batch(plan, bars())
    assert block[:, 0].tobytes() == block[:, 1].tobytes()
    assert (block[5:, 2] > block[5:, 3]).all()


def test_a_history_is_as_long_as_its_longest_window_and_shared():
    plan = Plan({f"sma{n}": trend.sma.on("close", period=n) for n in (3, 50, 10)})
    histories = plan.rings[plan.rings[:, 1] > 0]
    assert histories[:, 1].tolist() == [51]


def test_the_definition_hash_changes_with_parameters_and_inputs():
    hashes = {
        Plan({"x": trend.sma.on("close", period=5)}).definition_hash,
        Plan({"x": trend.sma.on("close", period=6)}).definition_hash,
        Plan({"x": trend.sma.on("open", period=5)}).definition_hash,
        Plan({"x": trend.ema.on("close", period=5)}).definition_hash,
    }
    assert len(hashes) == 4
    assert Plan({"x": trend.sma.on("close", period=5)}).definition_hash in hashes


def test_declarations_that_cannot_be_laid_out_are_named():
    with pytest.raises(KernelError, match="neither a column nor declared before"):
        Plan({"x": trend.sma.on("later", period=5), "later": trend.sma.on("close", period=5)})
    with pytest.raises(KernelError, match="name of a column"):
        Plan({"close": trend.sma.on("open", period=5)})


def test_rows_of_the_wrong_shape_are_refused(plan):
    with pytest.raises(KernelError, match="columns"):
        Machine(plan, 1).run(0, np.ones((3, 4)))
    with pytest.raises(KernelError, match="dimensions"):
        Machine(plan, 1).run(0, np.ones(5))
