"""A bar as prints: a path from its open over its extremes to its close, with its volume shared out exactly."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from apps.simulator.markets.base import MINUTE_NS, Side

_FIRST_NS = 200_000_000  # prints lie in the minute's inside, clear of both ends
_SPAN_NS = MINUTE_NS - 2 * _FIRST_NS


def waypoints(open_: int, high: int, low: int, close: int) -> list[int]:
    """Return the prices that a path must touch, in order.

    A rising bar goes to its low first, a falling one to its high: which extreme came first is not in
    a bar, and nearest-first is the usual assumption.
    """
    touched = [open_, low, high, close] if close >= open_ else [open_, high, low, close]
    return [price for index, price in enumerate(touched) if index == 0 or price != touched[index - 1]]


def bar_prints(
    prices: tuple[int, int, int, int], volume: int, prints: int, rng: Random
) -> list[tuple[int, int, int, Side]]:
    """Return a minute's prints as (offset ns, ticks, lots, side), ascending.

    `prices` are open, high, low, close in ticks, `volume` in lots. The first print is the open, the last
    the close, the extremes are the bar's own, and the lots sum to `volume`, which must be at least
    the number of waypoints. There are about `prints` of them, fewer where the volume has fewer lots.
    """
    points = waypoints(*prices)
    count = min(max(prints, len(points)), volume)
    if count < len(points):
        raise ValueError(f"{volume} lots cannot print the {len(points)} prices of a bar")
    path = _path(points, count, rng)
    lots = _shares(volume, count, rng)
    step = _SPAN_NS / count
    rows: list[tuple[int, int, int, Side]] = []
    side: Side = "Buy" if prices[3] >= prices[0] else "Sell"
    for index, price in enumerate(path):
        if index and price != path[index - 1]:
            side = "Buy" if price > path[index - 1] else "Sell"
        elif rng.random() < 0.3:
            side = "Sell" if side == "Buy" else "Buy"
        offset_ns = _FIRST_NS + int((index + 0.05 + 0.9 * rng.random()) * step)
        rows.append((offset_ns, price, lots[index], side))
    return rows


def _path(points: list[int], count: int, rng: Random) -> list[int]:
    if len(points) == 1:
        return points * count
    legs = [abs(after - before) for before, after in pairwise(points)]
    spare, whole = count - len(points), sum(legs)
    low, high = min(points), max(points)
    path, given, gone = [points[0]], 0, 0
    for number, leg in enumerate(legs):
        gone += leg
        inner = spare * gone // whole - given
        given += inner
        before, after = points[number], points[number + 1]
        noise = (high - low) * 0.08
        for index in range(1, inner + 1):
            price = before + (after - before) * index / (inner + 1) + rng.gauss(0, noise)
            path.append(min(high, max(low, round(price))))
        path.append(after)
    return path


def _shares(volume: int, count: int, rng: Random) -> list[int]:
    """Share out whole lots, at least one each, unevenly, with nothing lost."""
    weights = [rng.expovariate(1.0) + 0.02 for _ in range(count)]
    whole, spare = sum(weights), volume - count
    lots = [1 + int(spare * weight / whole) for weight in weights]
    lots[weights.index(max(weights))] += volume - sum(lots)
    return lots
