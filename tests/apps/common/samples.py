"""Messages and topics that only the tests of the common library use."""

from typing import ClassVar

from apps.common.messages import Message
from apps.common.topics import register_bars, register_log, register_state


class Price(Message):
    """A state message."""

    i: int
    last: float


class Note(Message):
    """A log message."""

    text: str
    number: int = 0


class Closed(Message):
    """A batch of closed bars."""

    open_ns: int
    rows: list[float]


class Renamed(Message):
    """A message in its third version: `size` was `qty`, then got its currency."""

    version: ClassVar[int] = 3
    upcasters: ClassVar[dict] = {
        1: lambda fields: {"size": fields["qty"]},
        2: lambda fields: {**fields, "currency": "USDT"},
    }

    size: float
    currency: str


register_state("test.price", Price)
register_state("test.large", Note)
register_log("test.notes", Note)
register_log("test.others", Note)
register_bars("testvenue", Closed)


class Quoted(Message):
    """A state message as large as a quote, for the bench."""

    i: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    last: float
    market_ns: int
    wall_ns: int


register_state("test.quote", Quoted)
