"""Errors of the common library. Each says what the system does next."""


class CommonError(Exception):
    """Base of the errors raised here."""


class MessageError(CommonError):
    """A message cannot be encoded or decoded; it is not handed on."""


class MessageNewer(MessageError):
    """A message is of a newer version than this process knows: its consumer parks until it is upgraded."""


class TopicUnknown(CommonError):
    """Nobody registered this topic; the call is a mistake in the program."""


class LogGap(CommonError):
    """The stream no longer holds what follows `after`: take a snapshot, or read the outbox table."""

    def __init__(self, topic: str, after: int, found: int) -> None:
        super().__init__(f"log {topic}: after {after} comes {found}; read the outbox or take a snapshot")
        self.topic, self.after, self.found = topic, after, found


class LeaseLost(CommonError):
    """Another holder has a higher fence: the resident stops and acts no more."""


class GovernorRefused(CommonError):
    """No token in time, or no bus to ask: the request is not sent."""


class ShareLost(CommonError):
    """A job's share was claimed by another worker meanwhile: this result is thrown away."""


class SecretUnreadable(CommonError):
    """An encrypted value cannot be read with the keys at hand; what needs it does not start."""
