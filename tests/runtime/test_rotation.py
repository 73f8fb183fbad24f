"""What a process prints has a cap, though the process holds the file open; every log file has one of two caps."""

import re
import subprocess
import sys

from trader.config.schema import ROOT
from trader.runtime.rotation import KEPT, PRINTED, printed_rotate


def test_a_process_that_prints_on_and_on_fills_no_disk_and_goes_on_after_the_cut(tmp_path):
    path = tmp_path / "worker.out.log"
    code = "import sys\nfor line in sys.stdin: print('x' * 1000, flush=True); print('done', line, flush=True)"
    with path.open("ab") as log:
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=log, text=True)
    try:
        for number in range(1, 7):
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            while f"done {number}" not in path.read_text():
                assert process.poll() is None
            assert printed_rotate(tmp_path, cap_bytes=900) == [path]
            assert path.stat().st_size == 0
    finally:
        process.kill()
        process.wait(5)
    names = sorted(found.name for found in tmp_path.iterdir())
    assert names == ["worker.out.log", *[f"worker.out.log.{number}" for number in range(1, KEPT + 1)]]
    assert "done 6" in (tmp_path / "worker.out.log.1").read_text()


def test_what_is_short_and_what_rotates_itself_is_left_alone(tmp_path):
    (tmp_path / "web.out.log").write_text("short")
    (tmp_path / "web.log").write_text("x" * 2000)
    assert printed_rotate(tmp_path, cap_bytes=1000) == []


def test_every_log_file_that_the_runtime_opens_is_covered():
    named = set()
    for path in (ROOT / "trader" / "runtime").rglob("*.py"):
        named |= set(re.findall(r"logs[^\n]*?\"?([a-z.{}]+\.log)\"", path.read_text()))
    ours = {name for name in named if not name.startswith("prepare")}  # written anew at each start
    assert {"postgres.log", "valkey.log", "{name}.out.log"} <= ours
    assert [name for name in ours if not name.endswith(".out.log") and name not in PRINTED] == []
