"""Who ended an order, and what blocks new risk: each word once, each explained in docs/reference/orders.md."""

from enum import StrEnum


class Origin(StrEnum):
    """`origin` of an order: who or what ended it, or why it was never sent."""

    VENUE = "venue"
    GATE = "gate"
    DESK = "desk"
    PERSON = "person"
    KILL = "kill"
    BUSY = "busy"
    CREDENTIALS = "credentials"
    CLOCK = "clock"
    ADOPTED = "adopted"
    RATE = "rate"
    DUPLICATE = "duplicate"


class Blocker(StrEnum):
    """The desk's own guards, asked before the checks of the core: `check_name` of a refusal, and why a desk blocks."""

    LEASE = "lease"
    KILL_SWITCH = "kill_switch"
    TRADING_OFF = "trading_off"
    STARTING = "starting"
    STOPPING = "stopping"
    DATABASE = "database"
    FEED = "feed"
    SOCKET = "socket"
    SOCKET_LOST = "socket_lost"
    CLOCK = "clock"
    CREDENTIALS = "credentials"
    RECONCILE = "reconcile"
    BOOKS = "books"
    STOP = "stop"
    HALT = "halt"
    LIMITS = "limits"
    SIZE = "size"
    UNIVERSE = "universe"
    STAGE = "stage"
    CODE = "code"
    UNDER_WAY = "under_way"
    OPPOSED = "opposed"
    REVERSAL = "reversal"
    RATE = "rate"
    GATE = "gate"
