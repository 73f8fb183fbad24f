"""The ledger: what this venue saw and did, in order, for whoever must prove something afterwards.

Rows of five kinds. `request`: every request on arrival, with its outcome once it is known. `order`:
every order accepted. `fill`, `cancel`. `frame`: what left on public sockets, stamped before the write.
Kept in the store, so it survives a crash with all that was acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from apps.simulator.exchange.store import Store

KINDS = ("request", "order", "fill", "cancel", "frame")
PAGE = 2_000
KEPT = 2_000_000


class Ledger:
    """Numbers rows by `seq` without gaps and hands them to the store."""

    def __init__(self, store: Store, *, all_frames: bool = False) -> None:
        self._store = store
        self._seq = store.numbers_last()[2]
        self.all_frames = all_frames
        store.ledger_trim(KEPT)

    def add(self, kind: str, market_ns: int, wall_ns: int | None = None, **fields: Any) -> dict[str, Any]:
        """Append a row and return it; fields added to it later must be told by `changed`."""
        self._seq += 1
        row = {
            "seq": self._seq,
            "kind": kind,
            "wall_ns": time.time_ns() if wall_ns is None else wall_ns,
            "market_ns": market_ns,
            **fields,
        }
        self._store.ledger_put(self._seq, kind, row)
        return row

    def changed(self, row: dict[str, Any]) -> None:
        """Write a row again whose fields have been completed."""
        self._store.ledger_put(row["seq"], row["kind"], row)

    def frame(self, topic: str, market_ns: int, body: bytes | str, wall_ns: int | None = None) -> None:
        """Record a frame (JSON); call it before the write to the socket, with that moment's wall clock."""
        raw = body if isinstance(body, bytes) else body.encode()
        self.add("frame", market_ns, wall_ns, topic=topic, body=msgspec.Raw(raw))

    @property
    def seq(self) -> int:
        """The newest row's number."""
        return self._seq

    def read(self, since: int = 0, kind: str = "") -> Iterator[bytes]:
        """Yield rows after `since` as JSON lines, in order of `seq`."""
        self._store.commit()
        while True:
            rows = self._store.ledger_read(since, kind, PAGE)
            yield from (body + b"\n" for _, body in rows)
            if len(rows) < PAGE:
                return
            since = rows[-1][0]

    def flush(self) -> None:
        """Write what waits."""
        self._store.commit()

    def close(self) -> None:
        """Write what waits and close the store."""
        self._store.close()
