"""Coarser bars from stored minutes: five minutes and up, whole ones only."""

import numpy as np

from apps.market.storage.rows import BACKFILLED, BAR_DTYPE, DIFFERED, EMPTY, REVISED, Bars, bars_empty

SECOND_NS = 1_000_000_000
MINUTE_S = 60
Bucket = tuple[int, int]  # instrument, open time


def buckets_touched(minutes: Bars, timeframe_s: int) -> set[Bucket]:
    """Return the buckets that these minutes end or amend."""
    span_ns = timeframe_s * SECOND_NS
    opened = minutes["open_ns"] - minutes["open_ns"] % span_ns
    ends = minutes["open_ns"] + MINUTE_S * SECOND_NS == opened + span_ns
    chosen = ends | ((minutes["flags"] & (BACKFILLED | REVISED)) != 0)
    return set(zip(minutes["instrument_id"][chosen].tolist(), opened[chosen].tolist(), strict=True))


def coarse_of(minutes: Bars, timeframe_s: int) -> Bars:
    """Return the bars of a coarser timeframe that these minutes make up without a hole.

    Minutes are given by instrument and time, newest revision each. A bucket that lacks a minute gives no bar.
    """
    if len(minutes) == 0:
        return bars_empty()
    span_ns = timeframe_s * SECOND_NS
    opened = minutes["open_ns"] - minutes["open_ns"] % span_ns
    starts_new = np.ones(len(minutes), dtype=bool)
    same = (minutes["instrument_id"][1:] == minutes["instrument_id"][:-1]) & (opened[1:] == opened[:-1])
    starts_new[1:] = ~same
    first = np.flatnonzero(starts_new)
    counts = np.diff(np.append(first, len(minutes)))
    last = first + counts - 1
    bars = np.empty(len(first), dtype=BAR_DTYPE)
    bars["instrument_id"], bars["open_ns"] = minutes["instrument_id"][first], opened[first]
    bars["open"], bars["close"] = minutes["open"][first], minutes["close"][last]
    bars["high"] = np.maximum.reduceat(minutes["high"], first)
    bars["low"] = np.minimum.reduceat(minutes["low"], first)
    bars["volume"] = np.add.reduceat(minutes["volume"], first)
    bars["turnover"] = np.add.reduceat(minutes["turnover"], first)
    bars["trades"] = np.add.reduceat(minutes["trades"], first)
    bars["revision"] = 0
    bars["known_ns"] = np.maximum.reduceat(minutes["known_ns"], first)
    any_of = np.bitwise_or.reduceat(minutes["flags"] & (BACKFILLED | DIFFERED), first)
    silent = np.bitwise_and.reduceat(minutes["flags"] & EMPTY, first)
    bars["flags"] = any_of | silent
    return bars[counts == timeframe_s // MINUTE_S]
