"""Fixtures for all tests; the servers come from `tests/servers.py`."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("tests/e2e/test_access.py", "tests/e2e/test_browser.py")
FIRST = (*PAGES, "tests/apps/market/test_feed.py")


def pytest_configure(config: pytest.Config) -> None:
    """Hash passwords quickly here (stacks hash as the product does); judge stories, not the pace of a busy machine.

    In CI the stories are the same each time, so that a failure is the change's; everywhere else they are new ones.
    """
    from django.conf import settings
    from hypothesis import HealthCheck
    from hypothesis import settings as stories

    from trader.core.indicators.kernels import set_cache_dir

    in_ci = bool(os.environ.get("QD_CI"))
    stories.register_profile("ours", deadline=None, derandomize=in_ci, suppress_health_check=[HealthCheck.too_slow])
    stories.load_profile("ours")

    set_cache_dir(os.environ["QD_TEST_KERNELS"])
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    # what a test starts is not measured: it would start half as fast, and drills kill it before it could tell
    if "PYTEST_XDIST_WORKER" in os.environ:
        for name in [name for name in os.environ if name.startswith("COVERAGE")]:
            del os.environ[name]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Let the tests' database be emptied between tests: everywhere else the audit trail refuses that.

    A run in which no test wants a database has none.
    """
    from django.db import connection

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE IF EXISTS common_auditentry DISABLE TRIGGER audit_not_emptied")
    connection.close()


@pytest.fixture(scope="session")
def django_db_keepdb(django_db_keepdb: bool) -> bool:
    """Drop no test database of our own servers, which are thrown away whole: it would wait for what is left open."""
    return django_db_keepdb or os.environ.get("QD_TEST_SERVERS") == "ours"


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


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path; the test is skipped, loudly, without it."""
    import shutil

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest of each step, so that its workers end together.

    Drills stay behind: beside pages, which burn as much, each would take half as long again.
    """
    items.sort(key=lambda item: item.location[0] not in FIRST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker a file at a time; files that look at the pages of one stack go together: it starts once."""
    from xdist.scheduler import LoadFileScheduling

    class ByStack(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "pages" if file in PAGES else file

    return ByStack(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a failure when it happens: a long run that is cut off has said at least that."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\nFAILED {report.nodeid} ({report.when})", file=sys.stderr, flush=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    """List loudly what was skipped."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section(f"SKIPPED: {len(skipped)} tests did not run", sep="!", red=True, bold=True)
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(f"  {report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a skip is a failure: what CI does not run, nobody runs."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("QD_CI") and reporter is not None and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
