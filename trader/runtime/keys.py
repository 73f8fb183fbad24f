"""Keys of the installation: each a random secret in its own file of mode 600."""

import os
import secrets
from pathlib import Path


def key_read(state_dir: Path, name: str) -> str:
    """Return the key `name`, making it on the first run. Two processes that race get the same one."""
    path = state_dir / "keys" / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())
    return path.read_text().strip()
