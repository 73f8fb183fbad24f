"""The registry of topics: what travels on the bus, as what type, and how.

An app registers its topics by importing its own `events.py` in `AppConfig.ready()`.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from apps.common.errors import MessageError, TopicUnknown
from apps.common.messages import Message, decode, encode


class TopicKind(StrEnum):
    """State: complete in itself, newest wins. Log: numbered, every message counts. Bars: streams of closed bars."""

    STATE = "state"
    LOG = "log"
    BARS = "bars"


@dataclass(frozen=True)
class Topic:
    """A registered topic, or a prefix of topics: `quote` stands for `quote.3`, `quote.4` …"""

    name: str
    kind: TopicKind
    message: type[Message]


_topics: dict[tuple[TopicKind, str], Topic] = {}


def register_state(prefix: str, message: type[Message]) -> None:
    """Register the state topics `<prefix>` and `<prefix>.<anything>`."""
    _register(Topic(prefix, TopicKind.STATE, message))


def register_log(name: str, message: type[Message]) -> None:
    """Register a log topic. It is named exactly; its messages go through the outbox."""
    _register(Topic(name, TopicKind.LOG, message))


def register_bars(prefix: str, message: type[Message]) -> None:
    """Register the bar streams whose names start with `<prefix>.`; an empty prefix takes all others."""
    _register(Topic(prefix, TopicKind.BARS, message))


def _register(topic: Topic) -> None:
    known = _topics.get((topic.kind, topic.name))
    if known is not None and known.message is not topic.message:
        raise ValueError(f"{topic.kind} topic {topic.name!r} is registered as {known.message.__name__} already")
    _topics[(topic.kind, topic.name)] = topic
    topic_of.cache_clear()


@lru_cache(maxsize=8192)
def topic_of(kind: TopicKind, name: str) -> Topic:
    """Return the topic that `name` belongs to: the longest registered prefix. Raises `TopicUnknown`."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        topic = _topics.get((kind, ".".join(parts[:length])))
        if topic is not None and (kind != TopicKind.LOG or length == len(parts)):
            return topic
    if (kind, "") in _topics:
        return _topics[(kind, "")]
    raise TopicUnknown(f"no {kind} topic {name!r}: register it in its app's events.py")


def topics_registered(kind: TopicKind | None = None) -> list[Topic]:
    """Return all registered topics, or those of one kind, by name."""
    found = [topic for topic in _topics.values() if kind in (None, topic.kind)]
    return sorted(found, key=lambda topic: (topic.kind, topic.name))


def topic_encode(kind: TopicKind, name: str, message: Message) -> bytes:
    """Return the message as it goes on the wire; a message of another type than the topic's is refused."""
    topic = topic_of(kind, name)
    if type(message) is not topic.message:
        raise MessageError(f"{name} carries {topic.message.__name__}, not {type(message).__name__}")
    return encode(message)


def topic_decode(kind: TopicKind, name: str, data: bytes) -> Message:
    """Return the message of a topic from its wire form."""
    return decode(topic_of(kind, name).message, data)
