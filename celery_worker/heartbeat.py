"""A file that a worker touches from its own timer: what asks whether it is well needs neither broker nor an import."""

import os
import socket
from pathlib import Path
from typing import Any

from celery import bootsteps

EVERY_S = 10.0


class HeartbeatStep(bootsteps.StartStopStep):
    """Touches `<state>/run/alive-<process>-<host>` for as long as the worker's timer runs."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._entry: Any = None
        self._path = Path()

    def start(self, worker: Any) -> None:
        """Touch it now and every ten seconds."""
        from django.conf import settings

        name = f"alive-{os.environ.get('QD_PROCESS', 'worker')}-{socket.gethostname()}"
        self._path = Path(settings.STATE_DIR) / "run" / name
        self._touch()
        self._entry = worker.timer.call_repeatedly(EVERY_S, self._touch)

    def stop(self, worker: Any) -> None:
        """Take the file away: a worker that is stopped is not well."""
        if self._entry is not None:
            self._entry.cancel()
        self._path.unlink(missing_ok=True)

    def _touch(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path.touch()
        except OSError:
            pass  # a disk that is full must not end a worker's timer
