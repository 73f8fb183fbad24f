"""Typed messages with versions. On the wire a message is msgpack of `[version, fields]`."""

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, TypeVar

import msgspec

from apps.common.errors import MessageError, MessageNewer

Fields = dict[str, Any]
Upcaster = Callable[[Fields], Fields]
M = TypeVar("M", bound="Message")

_encoder = msgspec.msgpack.Encoder(decimal_format="string", uuid_format="canonical")
_envelope = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])
_untyped = msgspec.msgpack.Decoder(dict[str, Any])


class Message(msgspec.Struct, frozen=True):
    """Base of all messages: frozen, typed, with a version.

    A subclass that changes its fields raises `version` by one and adds to `upcasters` a function from the
    old version's fields to the next one's: `upcasters = {1: lambda fields: {**fields, "side": "buy"}}`.
    """

    version: ClassVar[int] = 1
    upcasters: ClassVar[dict[int, Upcaster]] = {}


def encode(message: Message) -> bytes:
    """Return the message as it goes on the wire."""
    return _encoder.encode((message.version, message))


def decode(kind: type[M], data: bytes) -> M:
    """Return the message of type `kind` in `data`, whatever older version it was written in.

    Raises `MessageNewer` for a version that this process does not know, `MessageError` for what does not fit.
    """
    try:
        version, body = _envelope.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise MessageError(f"{kind.__name__}: not a message: {error}") from None
    if version > kind.version:
        raise MessageNewer(f"{kind.__name__} is of version {version}; this process knows {kind.version}: upgrade it")
    try:
        if version == kind.version:
            return _decoder(kind).decode(body)
        return msgspec.convert(_upcast(kind, version, _untyped.decode(body)), kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise MessageError(f"{kind.__name__} version {version}: {error}") from None


def _upcast(kind: type[Message], version: int, fields: Fields) -> Fields:
    for step in range(version, kind.version):
        if step not in kind.upcasters:
            raise MessageError(f"{kind.__name__} has no upcaster from version {step}: add one to `upcasters`")
        fields = kind.upcasters[step](fields)
    return fields


@cache
def _decoder(kind: type[M]) -> "msgspec.msgpack.Decoder[M]":
    return msgspec.msgpack.Decoder(kind)
