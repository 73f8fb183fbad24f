"""The core: a decision's own cost beside the goals of the design, and a batch beside bare numpy doing the same."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.table import row
from trader.core.indicators import momentum, statistics, trend, volatility
from trader.core.indicators.machine import Machine
from trader.core.indicators.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
BARS = 1_000_000
READY = (
    "import sys, time; started = time.perf_counter()\n"
    "from trader.core.indicators import set_cache_dir; set_cache_dir(sys.argv[1])\n"
    "from trader.core.engine import Pipeline\n"
    "from apps.strategies.library.mean_reversion import STRATEGY\n"
    "Pipeline(STRATEGY, {}, ['spot'] * 20).step(0, (1.0,) * 5)\n"
    "print(time.perf_counter() - started)\n"
)


def rows() -> list[dict[str, Any]]:
    """Measure; each figure is the best of several runs, so that neighbours on the machine count least."""
    return [*_ready(), _sixty_features(), _single_update(), _batch_beside_numpy()]


def _best(work: Callable[[], Any], times: int = 7) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)


def _ready() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as cache:
        cold = _ready_once(cache)
        warm = min(_ready_once(cache) for _ in range(3))
    return [
        row("a strategy's kernels, compiled for the first time", cold, "s", "limit", 10.0),
        row("a strategy's kernels from the disk, imports counted", warm, "s", "limit", 1.5),
    ]


def _ready_once(cache: str) -> float:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", READY, cache]
    return float(subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120).stdout)


def _sixty_features() -> dict[str, Any]:
    steps = (trend.sma, trend.ema, statistics.deviation, statistics.zscore, statistics.highest, statistics.lowest,
             momentum.rsi, momentum.change, volatility.ewm_variance)  # fmt: skip
    periods = (5, 10, 14, 20, 30, 50)
    features = {f"{one.name}_{period}": one.on("close", period=period) for one in steps for period in periods}
    features |= {f"atr_{period}": volatility.atr.on("high", "low", "close", period=period) for period in periods}
    machine, bar = Machine(Plan(features), 1), [100.0, 101.0, 99.0, 100.5, 3.0]

    def work() -> None:
        for _ in range(5_000):
            machine.step(0, bar)

    return row(f"{len(features)} features of one bar, from Python", _best(work) / 5_000 * 1e6, "µs", "limit", 10.0)


def _single_update() -> dict[str, Any]:
    update = trend.ema.live(period=20).update

    def work() -> None:
        for _ in range(50_000):
            update(100.0)

    return row("one live update of an average", _best(work) / 50_000 * 1e6, "µs", "limit", 0.5)


def _batch_beside_numpy() -> dict[str, Any]:
    close = 100.0 + np.cumsum(np.random.default_rng(7).normal(size=BARS)) * 0.01

    def plain() -> np.ndarray:
        total = np.concatenate([[0.0], np.cumsum(close)])
        return (total[20:] - total[:-20]) / 20.0

    ours, peer = _best(lambda: trend.sma.batch(close, period=20)), _best(plain)
    return row("mean of 20 over a million bars", ours * 1e3, "ms", "numpy's cumulative sum", peer * 1e3)
