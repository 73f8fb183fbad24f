"""Steps: batch, live and restored are equal to the bit; NaN heals; values agree with plain definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.core.catalogue import PERIODS, every_step, inputs_for, outputs, parameters_for, random_walk
from trader.core.indicators import momentum, statistics, step, trend, volatility
from trader.core.types.errors import KernelError, StateError

BARS = 400
STEPS = pytest.mark.parametrize("each", every_step(), ids=lambda s: s.name)
VALUES = st.one_of(
    st.floats(-1e6, 1e6),
    st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-12, 1e12, 100.0]),
)


def fed(live, columns):
    """Outputs of a live step fed bar by bar, one array for each."""
    rows = [live.update(*(float(column[i]) for column in columns)) for i in range(len(columns[0]))]
    return [
        np.array(values) for values in zip(*(row if isinstance(row, tuple) else (row,) for row in rows), strict=True)
    ]


def same_bits(one, other):
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


@STEPS
@pytest.mark.parametrize("period", PERIODS)
def test_batch_and_live_are_equal_to_the_bit(each, period):
    columns, bound = inputs_for(each, random_walk(BARS)), parameters_for(each, period)
    assert same_bits(outputs(each.batch(*columns, **bound)), fed(each.live(**bound), columns))


@STEPS
@settings(max_examples=15, deadline=None)
@given(close=arrays(np.float64, st.integers(1, 60), elements=VALUES), period=st.sampled_from(PERIODS))
def test_batch_and_live_are_equal_whatever_comes_in(each, close, period):
    columns, bound = [close + 0.0 for _ in each.inputs], parameters_for(each, period)
    assert same_bits(outputs(each.batch(*columns, **bound)), fed(each.live(**bound), columns))


@STEPS
def test_a_restored_step_goes_on_with_the_same_bits(each):
    columns, bound = inputs_for(each, random_walk(BARS)), parameters_for(each, 5)
    whole = each.live(**bound)
    first = fed(whole, [column[:137] for column in columns])
    restored = each.live(**bound)
    restored.restore(whole.snapshot())
    rest = fed(restored, [column[137:] for column in columns])
    joined = [np.concatenate(parts) for parts in zip(first, rest, strict=True)]
    assert same_bits(joined, outputs(each.batch(*columns, **bound)))


@STEPS
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_value_heals(each, bad):
    period = 5
    clean = inputs_for(each, random_walk(BARS))
    dirty = [column.copy() for column in clean]
    for column in dirty:
        column[100] = bad
    bound = parameters_for(each, period)
    for before, after in zip(outputs(each.batch(*clean, **bound)), outputs(each.batch(*dirty, **bound)), strict=True):
        assert not np.isfinite(after[100])
        # within a few windows it is whole again, and near what it would have been
        assert np.isfinite(after[100 + 2 * period :]).all()
        np.testing.assert_allclose(after[300:], before[300:], rtol=0.05, atol=0.5)


@pytest.mark.parametrize("each", [s for s in every_step() if s.window and s.name != "change"], ids=lambda s: s.name)
def test_a_windowed_step_says_nothing_while_a_bad_value_is_in_its_window_and_is_exact_afterwards(each):
    period = 5
    clean = inputs_for(each, random_walk(BARS))
    dirty = [column.copy() for column in clean]
    dirty[0][100] = np.nan
    bound = parameters_for(each, period)
    for before, after in zip(outputs(each.batch(*clean, **bound)), outputs(each.batch(*dirty, **bound)), strict=True):
        assert np.isnan(after[100 : 100 + period]).all()
        np.testing.assert_allclose(after[100 + period :], before[100 + period :], rtol=1e-9, atol=1e-9)


@STEPS
@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_arrays_shorter_than_the_window_give_nan_or_nothing(each, length):
    columns, bound = inputs_for(each, random_walk(length)), parameters_for(each, 14)
    for column in outputs(each.batch(*columns, **bound)):
        assert len(column) == length


def windows(x, n):
    return np.lib.stride_tricks.sliding_window_view(x, n)


PLAIN = [
    (trend.sma, {"period": 20}, lambda x: windows(x, 20).mean(axis=1), 1e-12),
    (statistics.deviation, {"period": 20}, lambda x: windows(x, 20).std(axis=1), 1e-9),
    (statistics.highest, {"period": 20}, lambda x: windows(x, 20).max(axis=1), 0.0),
    (statistics.lowest, {"period": 20}, lambda x: windows(x, 20).min(axis=1), 0.0),
    (
        statistics.zscore,
        {"period": 20},
        lambda x: (x[19:] - windows(x, 20).mean(axis=1)) / windows(x, 20).std(axis=1),
        1e-8,
    ),
    (momentum.change, {"period": 5}, lambda x: x[5:] / x[:-5] - 1.0, 1e-12),
]


@pytest.mark.parametrize(("each", "bound", "plain", "within"), PLAIN, ids=[row[0].name for row in PLAIN])
def test_values_agree_with_the_plain_definition(each, bound, plain, within):
    x = random_walk(3_000)
    expected = plain(x)
    got = each.batch(x, **bound)
    assert np.isnan(got[: len(x) - len(expected)]).all()
    np.testing.assert_allclose(got[len(x) - len(expected) :], expected, rtol=within, atol=within)


def test_deviation_survives_a_small_spread_on_a_large_price_and_a_spike():
    rng = np.random.default_rng(3)
    x = 60_000.0 + rng.normal(size=5_000) * 6.0  # a deviation of 1e-4 of the price
    x[2_000] = 6e7
    expected = windows(x, 20).std(axis=1)
    np.testing.assert_allclose(statistics.deviation.batch(x, period=20)[19:], expected, rtol=1e-9)


def test_a_market_that_stands_still_has_a_zscore_of_zero():
    z = statistics.zscore.batch(np.full(300, 123.456789), period=20)
    assert (z[19:] == 0.0).all()


def test_ema_starts_with_the_simple_average_and_follows_its_recursion():
    x = random_walk(200)
    got = trend.ema.batch(x, period=10)
    expected = x[:10].mean()
    k = 2 / 11
    for i in range(10, 200):
        expected += k * (x[i] - expected)
    assert got[9] == pytest.approx(x[:10].mean(), rel=1e-14)
    assert got[-1] == pytest.approx(expected, rel=1e-12)


def test_wilder_and_atr_agree_on_the_true_range():
    close = random_walk(200)
    high, low = close + 0.3, close - 0.2
    ranges = np.maximum(high[1:] - low[1:], np.maximum(abs(high[1:] - close[:-1]), abs(low[1:] - close[:-1])))
    got = volatility.atr.batch(high, low, close, period=14)
    np.testing.assert_allclose(got[14:], trend.wilder.batch(ranges, period=14)[13:], rtol=1e-12)


def test_rsi_is_a_hundred_when_only_rising_and_nothing_when_still():
    rising = momentum.rsi.batch(np.arange(1.0, 60.0), period=14)
    assert np.isnan(rising[:14]).all()
    assert (rising[14:] == 100.0).all()
    assert (momentum.rsi.batch(np.full(60, 5.0), period=14)[14:] == 0.0).all()


def test_bollinger_bands_stand_around_the_mean():
    x = random_walk(100)
    middle, upper, lower = volatility.bollinger.batch(x, period=20, width=2.0)
    np.testing.assert_allclose(middle[19:], trend.sma.batch(x, period=20)[19:], rtol=1e-12)
    np.testing.assert_allclose(upper[19:] - lower[19:], 4 * statistics.deviation.batch(x, period=20)[19:], rtol=1e-6)


def test_ewm_variance_follows_its_recursion():
    x = random_walk(300)
    mean, variance, k = x[0], 0.0, 2 / 31
    for value in x[1:]:
        variance = (1 - k) * (variance + k * (value - mean) ** 2)
        mean += k * (value - mean)
    assert volatility.ewm_variance.batch(x, period=30)[-1] == pytest.approx(variance, rel=1e-12)


class TestDeclarations:
    def test_parameters_that_are_missing_or_of_the_wrong_kind_are_named(self):
        with pytest.raises(KernelError, match="period"):
            trend.sma.on("close")
        with pytest.raises(KernelError, match="whole number"):
            trend.sma.on("close", period=2.5)
        with pytest.raises(KernelError, match="must be a number"):
            trend.sma.on("close", period="20")
        with pytest.raises(KernelError, match="must be a number"):
            trend.sma.on("close", period=True)
        assert trend.sma.on("close", period=20.0).bound == (20,)

    def test_a_wrong_number_of_inputs_is_refused(self):
        with pytest.raises(KernelError, match="high, low, close"):
            volatility.atr.on("close", period=5)
        with pytest.raises(KernelError, match="got 1"):
            volatility.atr.batch(np.ones(3), period=5)
        with pytest.raises(KernelError, match="got 2 values"):
            trend.ema.live(period=5).update(1.0, 2.0)

    def test_arrays_that_do_not_fit_are_refused_before_the_kernel_sees_them(self):
        with pytest.raises(KernelError, match="lengths"):
            volatility.atr.batch(np.ones(3), np.ones(4), np.ones(3), period=2)
        with pytest.raises(KernelError, match="2 dimensions"):
            trend.ema.batch(np.ones((3, 2)), period=2)
        with pytest.raises(KernelError, match="float64"):
            trend.ema.batch(["a"], period=2)

    def test_strided_readonly_and_integer_arrays_are_taken(self):
        x = random_walk(100)
        expected = trend.sma.batch(x, period=3)
        wide = np.repeat(x, 2)
        readonly = x.copy()
        readonly.flags.writeable = False
        for given_array in (wide[::2], readonly, list(x)):
            assert trend.sma.batch(given_array, period=3).tobytes() == expected.tobytes()
        assert trend.sma.batch(np.arange(5), period=2)[-1] == 3.5

    def test_a_period_below_one_is_refused(self):
        with pytest.raises(KernelError, match="above 0"):
            trend.sma.batch(np.ones(3), period=-1)

    def test_a_snapshot_of_another_size_is_refused(self):
        live = trend.sma.live(period=5)
        with pytest.raises(StateError, match="does not fit"):
            live.restore(trend.sma.live(period=6).snapshot())
        with pytest.raises(StateError, match="does not fit"):
            live.restore(b"abc")

    def test_outputs_are_taken_by_name(self):
        bands = volatility.bollinger.on("close", period=5, width=2.0)
        assert bands.take("lower").output_index == 2
        with pytest.raises(KernelError, match="middle, upper, lower"):
            bands.take("top")

    def test_a_step_is_still_its_plain_function(self):
        (state, value) = trend.ema((0.0, 0), 5.0, 1)
        assert (state, value) == ((5.0, 1), 5.0)

    def test_signatures_that_do_not_fit_are_named(self):
        with pytest.raises(KernelError, match="first argument"):

            @step()
            def no_state(close: float):
                return (), close

        with pytest.raises(KernelError, match="int or float"):

            @step()
            def no_types(state, close: float, period):
                return (), close

        with pytest.raises(KernelError, match="order"):

            @step(window=("close", "period"))
            def wrong_order(state, period: int, w):
                return (), 0.0

        with pytest.raises(KernelError, match="not among its inputs"):

            @step(window=("volume", "2"))
            def wrong_window(state, w):
                return (), 0.0

        with pytest.raises(KernelError, match="may use"):

            @step(window=("close", "period // 2"))
            def wrong_length(state, w, period: int):
                return (), 0.0

    def test_lengths_are_sums_and_products_of_parameters(self):
        @step(window=("close", "2 * slow - fast + 1"))
        def lengths(state, w, fast: int, slow: int):
            return (), 0.0

        assert lengths.window_length(lengths.bind({"fast": 3, "slow": 10})) == 18
