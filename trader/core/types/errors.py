"""The one tree of errors. Each class says what the system does next."""

from enum import StrEnum
from typing import ClassVar


class NextAction(StrEnum):
    """What follows an error."""

    RETRY = "retry"
    """The same call may be made again, after the back-off of its caller."""
    REJECT = "reject"
    """This one thing is refused and recorded; everything else goes on."""
    ASK = "ask"
    """The outcome is unknown: ask the venue before anything else is done about it."""
    HALT = "halt"
    """Stop adding risk until a person or a reconciliation has cleared it."""


class TraderError(Exception):
    """Root of all our errors. Without a better word it halts: that is the safe side."""

    action: ClassVar[NextAction] = NextAction.HALT


class ConfigurationError(TraderError):
    """A setting, parameter or declaration is wrong; the message names it and the fix. Stops the start."""


class DataError(TraderError):
    """A row, bar or message is not what it should be. It is rejected and counted."""

    action = NextAction.REJECT


class RiskRefused(TraderError):
    """A check said no; the order is not made."""

    action = NextAction.REJECT


class GateRefused(TraderError):
    """The send gate said no; the order did not leave the process."""

    action = NextAction.REJECT


class AccountingError(TraderError):
    """The books cannot take this entry, or do not add up. New risk stops."""


class StateError(TraderError):
    """A snapshot or checkpoint does not fit the code that reads it: warm up from the anchor instead."""

    action = NextAction.REJECT


class KernelError(TraderError):
    """A step or strategy cannot be built or called as asked; the message names it and what was expected."""

    action = NextAction.REJECT


class VenueError(TraderError):
    """Something went wrong at a venue."""


class VenueRejected(VenueError):
    """The venue refused the request; nothing happened there."""

    action = NextAction.REJECT


class VenueUnavailable(VenueError):
    """The venue cannot be reached, and the request surely did not leave."""

    action = NextAction.RETRY


class VenueBusy(VenueUnavailable):
    """The venue's rate limit was hit; back off."""


class OutcomeUnknown(VenueError):
    """The request may have arrived: a timeout, a dropped connection. Never send it again blindly."""

    action = NextAction.ASK
