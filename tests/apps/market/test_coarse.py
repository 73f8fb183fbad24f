"""Coarser bars from minutes."""

import numpy as np

from apps.market.feed.coarse import buckets_touched, coarse_of
from apps.market.storage.rows import BACKFILLED, DIFFERED, EMPTY, REVISED
from tests.apps.market.factories import BASE_NS, MINUTE_NS, minutes_make

FIVE_NS = 5 * MINUTE_NS
START_NS = BASE_NS - BASE_NS % FIVE_NS


def test_five_minutes_make_one_bar_with_all_figures() -> None:
    minutes = minutes_make(7, 5, START_NS)
    minutes["flags"][2] = BACKFILLED
    (bar,) = coarse_of(minutes, 300)
    assert (bar["open_ns"], bar["open"], bar["close"]) == (START_NS, minutes["open"][0], minutes["close"][4])
    assert (bar["high"], bar["low"]) == (minutes["high"].max(), minutes["low"].min())
    assert (bar["volume"], bar["trades"], bar["flags"]) == (minutes["volume"].sum(), 15, BACKFILLED)


def test_one_minute_that_the_venue_tells_otherwise_marks_the_whole_bar() -> None:
    minutes = minutes_make(7, 5, START_NS)
    minutes["flags"][3] = DIFFERED | REVISED
    assert list(coarse_of(minutes, 300)["flags"]) == [DIFFERED]


def test_a_bucket_that_lacks_a_minute_gives_no_bar() -> None:
    minutes = np.concatenate([minutes_make(7, 4, START_NS), minutes_make(7, 5, START_NS + FIVE_NS)])
    assert list(coarse_of(minutes, 300)["open_ns"]) == [START_NS + FIVE_NS]


def test_instruments_are_kept_apart_and_silence_counts_only_when_whole() -> None:
    minutes = np.concatenate([minutes_make(7, 5, START_NS, flags=EMPTY), minutes_make(8, 5, START_NS)])
    minutes["flags"][5] = EMPTY
    bars = coarse_of(minutes, 300)
    assert list(bars["instrument_id"]) == [7, 8]
    assert list(bars["flags"]) == [EMPTY, 0]
    assert len(coarse_of(minutes[:0], 300)) == 0


def test_only_the_last_minute_of_a_bucket_or_an_amended_one_touches_it() -> None:
    minutes = minutes_make(7, 5, START_NS)
    assert buckets_touched(minutes[:4], 300) == set()
    assert buckets_touched(minutes, 300) == {(7, START_NS)}
    minutes["flags"][1] = BACKFILLED
    assert buckets_touched(minutes[:2], 300) == {(7, START_NS)}
