"""Real servers for every test run: an embedded PostgreSQL and Valkey of its own, thrown away at the end.

They start before Django reads its settings; with DATABASE_URL or REDIS_URL set, those are used instead.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_servers: list = []


def _start_servers() -> None:
    from trader.runtime.servers import EmbeddedPostgres, EmbeddedValkey

    folder = Path(tempfile.mkdtemp(prefix="qdt-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["QD_RUNTIME_STATE_DIR"] = str(folder / "state")
    (folder / "s").mkdir(mode=0o700)
    if not os.environ.get("DATABASE_URL"):
        os.environ["QD_TEST_FSYNC_OFF"] = "1"
        postgres = EmbeddedPostgres(folder / "pg", folder / "s", folder / "pg.log")
        postgres.start()
        atexit.register(postgres.stop)
        os.environ["DATABASE_URL"] = postgres.url
        del os.environ["QD_TEST_FSYNC_OFF"]
        _servers.append(postgres)
    if not os.environ.get("REDIS_URL"):
        valkey = EmbeddedValkey(folder / "valkey", folder / "s", folder / "valkey.log")
        valkey.start()
        atexit.register(valkey.stop)
        os.environ["REDIS_URL"] = valkey.url
        _servers.append(valkey)


_start_servers()  # at import: pytest-django reads the settings before any hook of ours runs


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The folder of recorded market data; the test is skipped, loudly, without it."""
    folder = os.environ.get("QD_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no recorded market data: set QD_DATA to its folder")
    return Path(folder)
