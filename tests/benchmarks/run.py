"""`make bench`: every bench, one table, and bench.json beside it.

`python -m tests.benchmarks.run [NAME …]` runs only the named ones (`hub` for `bench_hub.py`). Each bench is a process
of its own, so that none warms or burdens another.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.table import table

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LIMIT_S = 900
OUT = ROOT / "bench.json"
CODE = (
    "import sys, json\n"
    "import tests.servers\n"
    "import os, django\n"
    "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'trader.settings')\n"
    "django.setup()\n"
    "from importlib import import_module\n"
    "rows = import_module('tests.benchmarks.bench_' + sys.argv[1]).rows()\n"
    "json.dump(rows, open(sys.argv[2], 'w'))\n"
)


def main(wanted: list[str]) -> int:
    """Run the benches; return 0 if every one of them ran (a goal that is missed is shown, not hidden)."""
    names = wanted or sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    rows: list[dict[str, Any]] = []
    failed = []
    for index, name in enumerate(names, 1):
        began = time.monotonic()
        print(f"[{index}/{len(names)}] {name} …", flush=True)
        found = _run(name)
        if found is None:
            failed.append(name)
        rows += found or []
        print(f"    {len(found or [])} rows in {time.monotonic() - began:.0f} s", flush=True)
    OUT.write_text(json.dumps(kept_with(rows), indent=2) + "\n")
    print("\n" + table(rows))
    missed = [entry["name"] for entry in rows if not entry["met"]]
    print(f"\n{len(rows) - len(missed)} of {len(rows)} goals met; bench.json written")
    if failed:
        print(f"did not run: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def kept_with(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return these rows and, of `bench.json`, those that were not measured anew."""
    known = json.loads(OUT.read_text()) if OUT.exists() else []
    fresh = {row["name"] for row in rows}
    return [row for row in known if row["name"] not in fresh] + rows


def _run(name: str) -> list[dict[str, Any]] | None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        try:
            subprocess.run([sys.executable, "-c", CODE, name, str(out)], cwd=ROOT, check=True, timeout=LIMIT_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"    {error}", file=sys.stderr)
            return None
        rows: list[dict[str, Any]] = json.loads(out.read_text())
        return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
