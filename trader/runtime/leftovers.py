"""Processes that a killed supervisor left behind: they are stopped before a new stack starts."""

import contextlib
import time

import psutil

from trader.runtime.layout import Layout, json_read

GRACE_S = 8.0
CLOCK_SLACK_S = 2.0


def leftovers_stop(layout: Layout) -> list[str]:
    """Stop what the last run's list still names, if pid and start time agree; return their names."""
    written = json_read(layout.stack_file)
    found = [] if not written else [pair for row in written["processes"] if (pair := _alive(row))]
    for _, process in found:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs([process for _, process in found], timeout=GRACE_S)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=2)
    layout.stack_file.unlink(missing_ok=True)
    layout.servers_file.unlink(missing_ok=True)
    return [name for name, _ in found]


def _alive(row: dict[str, object]) -> tuple[str, psutil.Process] | None:
    if not row.get("pid") or not row.get("since") or row["name"] == "supervisor":
        return None
    since = time.mktime(time.strptime(str(row["since"]), "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    try:
        process = psutil.Process(int(str(row["pid"])))
        same = abs(process.create_time() - since) <= CLOCK_SLACK_S
    except psutil.Error:
        return None
    return (str(row["name"]), process) if same else None
