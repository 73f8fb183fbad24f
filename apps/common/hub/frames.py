"""Frames for browsers: JSON text, and its WebSocket form made once for all who get it."""

import struct
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(decimal_format="string")
TEXT_FRAME = 0x81  # the last and only fragment, text


class Frame:
    """One message to browsers. `wire` is the unmasked WebSocket frame, made at the first use."""

    __slots__ = ("_wire", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._wire: bytes | None = None

    @property
    def wire(self) -> bytes:
        """Return header and payload as a server sends them."""
        if self._wire is None:
            self._wire = _header(len(self.text)) + self.text
        return self._wire


def _header(length: int) -> bytes:
    if length < 126:
        return struct.pack("!BB", TEXT_FRAME, length)
    if length < 65_536:
        return struct.pack("!BBH", TEXT_FRAME, 126, length)
    return struct.pack("!BBQ", TEXT_FRAME, 127, length)


def json_bytes(value: Any) -> bytes:
    """Return a message or plain value as JSON; decimals as text, NaN as null."""
    return _encoder.encode(value)


def state_frame(bodies: dict[str, bytes]) -> Frame:
    """Return `{"k":"state","v":{topic: value, …}}` of values that are JSON already."""
    inside = b",".join(json_bytes(topic) + b":" + body for topic, body in bodies.items())
    return Frame(b'{"k":"state","v":{' + inside + b"}}")


def log_part(topic: str, number: int, value: Any, html: str | None) -> bytes:
    """Return `{"k":"log","t":…,"n":…,"v":…,"html":…}` as JSON; html only where the topic is rendered."""
    return json_bytes({"k": "log", "t": topic, "n": number, "v": value} | ({} if html is None else {"html": html}))


def parts_frame(parts: list[bytes]) -> Frame:
    """Return one part as it is, or several as a JSON array, in order."""
    return Frame(parts[0] if len(parts) == 1 else b"[" + b",".join(parts) + b"]")


def snapshot_frame(topic: str, number: int, values: list[Any], html: str | None) -> Frame:
    """Return `{"k":"snap","t":…,"n":…,"v":[…],"html":…}`."""
    return Frame(
        json_bytes({"k": "snap", "t": topic, "n": number, "v": values} | ({} if html is None else {"html": html}))
    )


def ping_frame(wall_ns: int) -> Frame:
    """Return `{"k":"ping","at":…}`."""
    return Frame(json_bytes({"k": "ping", "at": wall_ns}))


def refused_frame(topic: str, why: str) -> Frame:
    """Return `{"k":"refused","t":…,"why":…}`."""
    return Frame(json_bytes({"k": "refused", "t": topic, "why": why}))
