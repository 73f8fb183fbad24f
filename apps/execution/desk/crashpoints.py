"""Named moments at which a drill kills or pauses this process. Inert unless QD_DRILL_CRASH names one.

`QD_DRILL_CRASH=after_commit` kills, `QD_DRILL_CRASH=after_commit:stop` pauses (SIGSTOP). Every hit is first
written to the file QD_DRILL_MARK, so that a drill knows that the moment came, and comes once.
"""

import os
import signal
import threading
from pathlib import Path

MOMENTS = frozenset({"after_commit", "after_send", "before_booking", "after_gate"})
_named = os.environ.get("QD_DRILL_CRASH", "")
_mark = os.environ.get("QD_DRILL_MARK", "")
_after = int(os.environ.get("QD_DRILL_AFTER", "0"))
_seen = 0


def crash_point(moment: str, subject: str = "") -> None:
    """Die or stand still here if a drill asked for this moment, has a mark file, and it was not hit before."""
    if _named:
        _hit(moment, subject)


def _hit(moment: str, subject: str) -> None:
    global _seen
    name, _, how = _named.partition(":")
    if name != moment or moment not in MOMENTS or not _mark:
        return
    _seen += 1
    if _seen <= _after:
        return
    try:
        descriptor = os.open(Path(_mark), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    os.write(descriptor, f"{moment} {subject}\n".encode())
    os.fsync(descriptor)
    os.close(descriptor)
    # to this very thread: a signal to the process may be taken by another one, and this one would go on for a moment
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP if how == "stop" else signal.SIGKILL)
