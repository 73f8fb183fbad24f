"""One stack per state folder."""

import errno
import fcntl
import os
from pathlib import Path

from trader.runtime.errors import StartError


class StateLock:
    """One stack per state folder: an exclusive lock that ends with its process."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "run" / "up.lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or say that the stack runs already."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = os.pread(descriptor, 32, 0).decode() or "?"
            os.close(descriptor)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise StartError(
                f"Quarterdeck runs already in {self.path.parents[1]} (process {pid.strip()}).",
                "`manage.py status` shows it, `manage.py down` stops it.",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
