"""A sample of every registered message, made from its types, and the files that keep it for ever.

`python -m tests.golden.samples` writes what is missing; it never changes a file that is there. A message whose
fields change gets a new version, an upcaster and a new file; the old file stays and must still be readable.
"""

import sys
import types
import typing
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from apps.common.messages import Message, encode
from apps.common.topics import Topic, topics_registered

FOLDER = Path(__file__).parent
SIMPLE = {int: 7, float: 1.5, str: "text", bool: True, bytes: b"\x01", Decimal: Decimal("0.5"), Any: "any"}


def golden_path(topic: Topic, version: int) -> Path:
    """Return where a version of a topic's message is kept."""
    return FOLDER / f"{topic.kind}-{topic.name or 'all'}.v{version}.msgpack"


def sample(message: type[Message]) -> Message:
    """Return an instance with a fixed value for every type."""
    hints = typing.get_type_hints(message)
    return message(**{name: _value(hints[name]) for name in message.__struct_fields__})


def _value(hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in SIMPLE:
        return SIMPLE[hint]
    if origin in (typing.Union, types.UnionType):
        return _value(next(part for part in arguments if part is not type(None)))
    if origin is typing.Literal:
        return arguments[0]
    if origin in (list, set, frozenset) or hint in (list, set):
        return (origin or hint)([_value(part) for part in arguments[:1]])
    if origin is tuple:
        return tuple(_value(part) for part in arguments if part is not Ellipsis)
    if origin is dict:
        return {_value(arguments[0]): _value(arguments[1])}
    if hint is dict:
        return {}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return sample(hint)  # type: ignore[arg-type]
    raise TypeError(f"no sample for {hint!r}: add one to SIMPLE in {__file__}")


def own_topics() -> list[Topic]:
    """Return the topics of the product, without those of tests."""
    return [topic for topic in topics_registered() if not topic.message.__module__.startswith("tests.")]


def main() -> int:
    """Write the files that are missing; returns how many."""
    written = 0
    for topic in own_topics():
        path = golden_path(topic, topic.message.version)
        if not path.exists():
            path.write_bytes(encode(sample(topic.message)))
            written += 1
            print(path.name)
    return written


if __name__ == "__main__":
    import django

    django.setup()
    main()
    sys.exit(0)
