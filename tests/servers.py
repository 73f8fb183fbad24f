"""Real servers for every test run: an embedded PostgreSQL and Valkey of its own, thrown away at the end.

A pytest plugin (`-p tests.servers`), because it must run before pytest-django reads Django's settings, which is
before any conftest. With DATABASE_URL or REDIS_URL set by a person, those are used instead. Each process of a
parallel run has servers of its own, since the bus of one would be heard by the others. Compiled kernels are shared.
"""

import atexit
import faulthandler
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.kernels import state_with_kernels

_servers: list[object] = []
# a run that stands still is asked where; pytest takes the usual place for errors away, and this is before it
faulthandler.register(signal.SIGUSR1, file=os.dup(2), all_threads=True)


def start() -> None:
    """Start what is not given from outside, and say where it is in the environment."""
    from trader.runtime.servers import EmbeddedPostgres, EmbeddedValkey

    folder = Path(tempfile.mkdtemp(prefix="qdt-"))
    (folder / "s").mkdir(mode=0o700)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["QD_RUNTIME_STATE_DIR"] = str(state_with_kernels(folder / "state"))
    given = os.environ.get("QD_TEST_SERVERS", "") != "ours"
    if not (given and os.environ.get("DATABASE_URL")):
        os.environ["QD_TEST_FSYNC_OFF"] = "1"
        postgres = EmbeddedPostgres(folder / "pg", folder / "s", folder / "pg.log")
        postgres.start()
        del os.environ["QD_TEST_FSYNC_OFF"]
        atexit.register(postgres.stop)
        os.environ["DATABASE_URL"] = postgres.url
        os.environ["QD_TEST_SERVERS"] = "ours"
        _servers.append(postgres)
    if not (given and os.environ.get("REDIS_URL")):
        valkey = EmbeddedValkey(folder / "valkey", folder / "s", folder / "valkey.log")
        valkey.start()
        atexit.register(valkey.stop)
        os.environ["REDIS_URL"] = valkey.url
        os.environ["QD_TEST_SERVERS"] = "ours"
        _servers.append(valkey)


def _is_controller_of_a_parallel_run() -> bool:
    return "-n" in sys.argv and "PYTEST_XDIST_WORKER" not in os.environ


if not _is_controller_of_a_parallel_run():
    start()
else:  # it runs no test itself; settings still want addresses
    os.environ.setdefault("QD_RUNTIME_STATE_DIR", str(state_with_kernels(Path(tempfile.mkdtemp(prefix="qdt-")))))
    atexit.register(shutil.rmtree, os.environ["QD_RUNTIME_STATE_DIR"], ignore_errors=True)
