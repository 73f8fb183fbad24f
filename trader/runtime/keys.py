"""Keys of the installation: each a random secret in its own file of mode 600."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from trader.runtime.errors import StartError

KEYS = ("secret.key", "credential.key")


def keys_ready(state_dir: Path) -> None:
    """Make the keys on the first run. Raises StartError for one that is empty or cannot be read."""
    for name in KEYS:
        key_read(state_dir, name)


def key_read(state_dir: Path, name: str) -> str:
    """Return the key `name`, making it on the first run. Two processes that race get the same one.

    Raises StartError for a file without a key: a new one would make what the old one encrypted unreadable.
    """
    path = state_dir / "keys" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _make(path)
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(
            f"The key file {path} cannot be read or made: {error}.",
            "make it a file of yours of mode 600, or put it back from a backup.",
        ) from None
    if not key:
        raise StartError(
            f"The key file {path} is empty.",
            "put it back from a backup; if nothing was ever kept under it, remove the file and start again.",
        )
    return key


def _make(path: Path) -> None:
    """Write a key whole and durable before it has its name; who comes second keeps the first one's."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
