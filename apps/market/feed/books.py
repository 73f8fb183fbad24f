"""The book of one instrument as the feed keeps it: levels, and the check that no delta is missing.

The venue's client does not check update ids: a dropped delta would leave a wrong book that looks well. Here a
gap makes the book unsound until a new snapshot has come, and nothing is quoted from an unsound book.

`u` counts the frames of one subscription, so it alone tells that none is missing. `seq` counts events of the whole
venue and grows by leaps, so it can tell no gap; but it never goes back between two frames that follow each other. One
that does was made of an older book than the one it would change, whatever its `u` says.
"""

from enum import Enum
from heapq import nlargest, nsmallest

from apps.market.providers.base import BookFrame


class BookVerdict(Enum):
    """What became of a frame."""

    APPLIED = "applied"
    IGNORED = "ignored"  # a repeat, or a delta while we wait for the snapshot
    GAP = "gap"  # a delta is missing, or out of its order: subscribe again


class LocalBook:
    """Price levels of one instrument; sizes in base units by price."""

    __slots__ = ("asks", "bids", "is_sound", "market_ns", "sequence", "update_id")

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.update_id = 0
        self.sequence = 0  # 0: the venue gives none
        self.is_sound = False
        self.market_ns = 0

    def apply(self, frame: BookFrame) -> BookVerdict:
        """Take a frame in, and say whether the book still is the venue's."""
        if frame.is_snapshot:
            # the venue says to overwrite with every snapshot, so its `seq` is taken as it is: it may have begun anew
            self.bids, self.asks = dict(frame.bids), dict(frame.asks)
            self.update_id, self.is_sound = frame.update_id, True
            self.sequence = frame.sequence
        elif not self.is_sound or frame.update_id <= self.update_id:
            return BookVerdict.IGNORED
        elif frame.update_id != self.update_id + 1 or self._goes_back(frame):
            self.is_sound = False
            return BookVerdict.GAP
        else:
            _change(self.bids, frame.bids)
            _change(self.asks, frame.asks)
            self.update_id = frame.update_id
            self.sequence = frame.sequence or self.sequence
        self.market_ns = max(self.market_ns, frame.market_ns)
        if self.is_crossed():
            self.is_sound = False
            return BookVerdict.GAP
        return BookVerdict.APPLIED

    def _goes_back(self, frame: BookFrame) -> bool:
        return 0 < frame.sequence < self.sequence

    def forget(self) -> None:
        """Wait for a snapshot: the connection is gone, or the book was asked for anew."""
        self.is_sound = False

    def is_crossed(self) -> bool:
        """Say whether the best bid reaches the best ask, which no sound book of one venue does."""
        return bool(self.bids) and bool(self.asks) and max(self.bids) >= min(self.asks)

    def best(self) -> tuple[float, float, float, float]:
        """Return (bid, its size, ask, its size); NaN and 0 for an empty side."""
        nan = float("nan")
        bid = max(self.bids, default=nan)
        ask = min(self.asks, default=nan)
        return bid, self.bids.get(bid, 0.0), ask, self.asks.get(ask, 0.0)

    def top(self, levels: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Return the best levels of both sides, best first."""
        bids = [(price, self.bids[price]) for price in nlargest(levels, self.bids)]
        asks = [(price, self.asks[price]) for price in nsmallest(levels, self.asks)]
        return bids, asks


def _change(levels: dict[float, float], changes: list[tuple[float, float]]) -> None:
    for price, size in changes:
        if size == 0.0:
            levels.pop(price, None)
        else:
            levels[price] = size
