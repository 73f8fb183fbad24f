"""Who signs: keys, the HMAC of a request or a socket, and the receive window."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import msgspec

from apps.simulator.exchange.errors import CLOCK, KEY_UNKNOWN, SIGNATURE, VenueRefusal

LEAD_MS = 1_000
WINDOW_DEFAULT_MS = 5_000
WINDOW_MAX_MS = 60_000


class KeyEntry(msgspec.Struct, forbid_unknown_fields=True):
    """One line of DIR/keys.json: a key, its secret, and what its account holds when it is new."""

    key: str
    secret: str
    balances: dict[str, Decimal] = msgspec.field(default_factory=lambda: {"USDT": Decimal(100_000)})


class KeyFileError(ValueError):
    """DIR/keys.json cannot be used; the text says why and what to do."""


class Keys:
    """The keys this venue knows: one given at the start, or those of a file, read again when it changes."""

    def __init__(self, folder: Path, key: str = "", secret: str = "") -> None:
        self._path = folder / "keys.json"
        self._stamp: tuple[int, int] | None = None
        self._given = {key: KeyEntry(key, secret)} if key else {}
        self._entries: dict[str, KeyEntry] = dict(self._given)
        if not key:
            self._read()

    def all(self) -> list[KeyEntry]:
        """Return every key."""
        return list(self._entries.values())

    def find(self, key: str) -> KeyEntry | None:
        """Return a key's entry; looks into the file again when it has changed since."""
        entry = self._entries.get(key)
        if entry is None and not self._given and self._read():
            entry = self._entries.get(key)
        return entry

    def _read(self) -> bool:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp == self._stamp:
            return False
        if status.st_mode & 0o077:
            raise KeyFileError(f"{self._path} can be read by others. Fix: chmod 600 {self._path}")
        try:
            entries = msgspec.json.decode(self._path.read_bytes(), type=list[KeyEntry])
        except msgspec.MsgspecError as error:
            shape = '[{"key": "…", "secret": "…", "balances": {"USDT": "100000"}}]'
            raise KeyFileError(f"{self._path}: {error}. Fix: write it as {shape}") from None
        self._entries = {entry.key: entry for entry in entries}
        self._stamp = stamp
        return True


def signature(secret: str, text: str) -> str:
    """Return the HMAC-SHA256 of `text`, in hex."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def request_check(keys: Keys, headers: Mapping[str, str], signed: str, wall_ms: int) -> KeyEntry:
    """Return who signed a request; `signed` is the query string of a GET or the body of a POST.

    Refuses with 10003 (key), 10004 (signature), 10002 (outside the receive window).
    """
    key = headers.get("X-BAPI-API-KEY", "")
    entry = keys.find(key)
    if entry is None:
        raise VenueRefusal(KEY_UNKNOWN, "API key is invalid.")
    stamp, window = headers.get("X-BAPI-TIMESTAMP", ""), headers.get("X-BAPI-RECV-WINDOW", "")
    expected = signature(entry.secret, f"{stamp}{key}{window}{signed}")
    if not hmac.compare_digest(expected, headers.get("X-BAPI-SIGN", "").lower()):
        raise VenueRefusal(SIGNATURE, "error sign! please check your signature generation algorithm.")
    window_check(stamp, window, wall_ms)
    return entry


def window_check(stamp: str, window: str, wall_ms: int) -> None:
    """Refuse a request that was signed too long ago, or more than a second in the future."""
    if not stamp.isdigit() or (window and not window.isdigit()):
        raise VenueRefusal(CLOCK, "invalid request, timestamp and recv_window must be whole milliseconds")
    asked_ms, window_ms = int(stamp), min(int(window or WINDOW_DEFAULT_MS), WINDOW_MAX_MS)
    if wall_ms - window_ms <= asked_ms < wall_ms + LEAD_MS:
        return
    raise VenueRefusal(
        CLOCK,
        "invalid request, please check your server timestamp or recv_window param. "
        f"req_timestamp[{asked_ms}],server_timestamp[{wall_ms}],recv_window[{window_ms}]",
    )


def socket_check(keys: Keys, arguments: object, wall_ms: int) -> KeyEntry:
    """Return who signs `{"op": "auth", "args": [key, expires, signature]}`."""
    if not isinstance(arguments, list) or len(arguments) != 3:
        raise VenueRefusal(KEY_UNKNOWN, "args must be [key, expires, signature]")
    key, expires, signed = (str(argument) for argument in arguments)
    entry = keys.find(key)
    if entry is None:
        raise VenueRefusal(KEY_UNKNOWN, "API key is invalid.")
    if not hmac.compare_digest(signature(entry.secret, f"GET/realtime{expires}"), signed.lower()):
        raise VenueRefusal(SIGNATURE, "error sign! please check your signature generation algorithm.")
    if not expires.isdigit() or int(expires) <= wall_ms:
        raise VenueRefusal(CLOCK, "Params Error: expires is in the past")
    return entry


def token_make(path: Path) -> str:
    """Return the control token, made on first use in a file of mode 600."""
    if path.exists():
        return path.read_text().strip()
    token = os.urandom(24).hex()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token)
    return token
