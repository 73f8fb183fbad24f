"""Ids of rows that are known before their rows, and without the database.

A session is a row, so its number is its own; an id is that number and a count within the session. No outage of the
database can use them up: what is made while it is gone stays in memory, and memory ends long before the count.
"""

from collections.abc import Iterable

from trader.core.types import TraderError

COUNT_BITS = 28
COUNT_MASK = (1 << COUNT_BITS) - 1


class IdsEnded(TraderError):
    """There is no id to give: the session has not begun, or has given all. The desk ends and begins another."""


class Ids:
    """Ids of orders, fills and signals of one session, ascending over sessions too."""

    def __init__(self) -> None:
        self._last = 0

    def begin(self, session_id: int, taken: Iterable[int] = ()) -> None:
        """Count within a session from now on, above what is known of it.

        A database that was restored may give the number of a session once more, of which the local journal still
        holds orders.
        """
        base = session_id << COUNT_BITS
        self._last = max([base, *(one for one in taken if one >> COUNT_BITS == session_id)])

    def take(self) -> int:
        """Return an id that no row has; raises `IdsEnded` before `begin`, and after 268 million."""
        if not self._last or self._last & COUNT_MASK == COUNT_MASK:
            raise IdsEnded("the session has no id to give: the desk starts again")
        self._last += 1
        return self._last
