"""What fails is told again alone, and what may not be told again fails the run."""

from pathlib import Path

import pytest

from tests import steps
from tests.steps import PYTEST, Step, in_turn

TIMED = """
from pathlib import Path

class InvariantBroken(AssertionError):
    pass

def told(name):
    file = Path({folder!r}) / name
    count = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(count))
    return count

def test_sound():
    told("sound")
"""


def run(folder: Path, body: str, workers: int = 0) -> int:
    """Write a file of tests and run it as a step."""
    file = folder / "test_stories.py"
    file.write_text(TIMED.format(folder=str(folder)) + body)
    parallel = ["-p", "xdist", "-n", str(workers)] if workers else []
    command = [*PYTEST, *parallel, str(file)]
    return in_turn(Step("stories", command, is_told_again=True))


@pytest.fixture(autouse=True)
def _plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run without our own settings and without plugins: these stories need no servers."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-c /dev/null -p no:cacheprovider -p tests.told")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(steps.ROOT))
    monkeypatch.setattr(steps, "ROOT", tmp_path)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_fails_once_is_told_twice_more_and_listed(
    workers: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status = run(tmp_path, "def test_late():\n    assert told('late') > 1, 'one line too early'\n", workers)
    said = capfd.readouterr().out
    assert (status, (tmp_path / "late").read_text(), (tmp_path / "sound").read_text()) == (0, "3", "1")
    assert "TOLD AGAIN: 1 tests failed at first" in said
    assert "test_stories.py::test_late (call)" in said.split("TOLD AGAIN")[1]
    assert "one line too early" in said.split("TOLD AGAIN")[1]


def test_what_passes_one_time_of_two_fails_the_run(tmp_path: Path) -> None:
    assert run(tmp_path, "def test_torn():\n    assert told('torn') == 2\n") == 1
    assert (tmp_path / "torn").read_text() == "3"


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("a promise of money", "def test_money():\n    if told('n') == 1:\n        raise InvariantBroken('twice')\n"),
        ("a sixth failure", "import pytest\n@pytest.mark.parametrize('n', range(6))\ndef test_many(n):\n"
         "    assert told('n') > 6\n"),
        ("a skip in CI beside it", "import pytest\ndef test_skipped():\n    pytest.skip('no browser')\n"
         "def test_late():\n    assert told('n') > 1\n"),
        ("a file that is not read", "import nothing_like_this\n"),
    ],
)  # fmt: skip
def test_never_told_again(what: str, body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QD_CI", "1")
    assert run(tmp_path, body) != 0, what
    told = int((tmp_path / "n").read_text()) if (tmp_path / "n").exists() else 0
    assert told <= (6 if what == "a sixth failure" else 1), what


def test_a_worker_that_dies_fails_the_run(tmp_path: Path) -> None:
    assert run(tmp_path, "import os\ndef test_dies():\n    if told('n') == 1:\n        os._exit(3)\n", workers=2) != 0
    assert (tmp_path / "n").read_text() == "1"
