"""Figures of equity curves and trades."""

from math import inf, isnan

import numpy as np
import pytest

from trader.core import metrics
from trader.core.types.errors import DataError


def test_returns_and_total_return():
    assert metrics.returns([100.0, 110.0, 99.0]).tolist() == pytest.approx([0.1, -0.1])
    assert metrics.total_return([100.0, 50.0, 110.0]) == pytest.approx(0.1)
    assert metrics.total_return([100.0]) == 0.0


def test_drawdown_is_from_the_highest_so_far():
    assert metrics.drawdown([100.0, 120.0, 90.0, 130.0]).tolist() == pytest.approx([0, 0, 0.25, 0])
    assert metrics.max_drawdown([100.0, 120.0, 90.0, 130.0]) == 0.25
    assert metrics.max_drawdown([]) == 0.0


def test_sharpe_is_annualised_and_unknown_without_deviation():
    curve = np.cumprod(np.array([1.0, 1.01, 0.995, 1.02]))
    moved = curve[1:] / curve[:-1] - 1
    assert metrics.sharpe(curve, 365) == pytest.approx(moved.mean() / moved.std(ddof=1) * 365**0.5)
    assert isnan(metrics.sharpe([1.0, 2.0, 4.0], 365))
    assert isnan(metrics.sharpe([1.0, 2.0], 365))


def test_sortino_counts_losses_alone():
    moved = np.array([0.1, -0.1, 0.05])
    curve = np.concatenate([[1.0], np.cumprod(1 + moved)])
    assert metrics.sortino(curve, 1) == pytest.approx(moved.mean() / (0.01 / 3) ** 0.5)
    assert isnan(metrics.sortino([1.0, 2.0, 3.0], 1))
    assert isnan(metrics.sortino([1.0], 1))


@pytest.mark.parametrize("curve", [[1.0, 0.0], [1.0, float("nan")], [[1.0], [2.0]]])
def test_equity_that_cannot_be_is_refused(curve):
    with pytest.raises(DataError, match="equity"):
        metrics.returns(curve)


def test_trade_figures():
    figures = metrics.trade_figures([10.0, -5.0, 5.0, 0.0])
    assert (figures.count, figures.hit_rate, figures.average, figures.profit_factor) == (4, 0.5, 2.5, 3.0)
    assert metrics.trade_figures([1.0]).profit_factor == inf
    assert isnan(metrics.trade_figures([0.0]).profit_factor)
    assert metrics.trade_figures([]).count == 0
    assert isnan(metrics.trade_figures([]).hit_rate)
