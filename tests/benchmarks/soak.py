"""The soak: a whole stack on the synthetic market, fast and long; the memory of each process must stay where it was.

`python -m tests.benchmarks.soak [--minutes 60] [--speed 60] [--out docs/proof]` writes `soak.json` (every sample),
`soak.svg` (the curves) and `soak.md` (what it says). Exit status 1 when memory grew, a process died, or a desk did not
end as it should. A shorter run works too: the value compared with is then that after a sixth of the time.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from tests.stack import ROOT, RunningStack

SAMPLE_S = 15.0
SETTLED_S = 600.0  # memory is compared with its value after ten minutes
WINDOW_S = 120.0  # the median of so long, at both ends: a collection in between is no growth
GROWTH = 0.05
READY_S = 120.0
# what is bounded fills up to its bound within the ten minutes, so that only a leak grows
BOUNDS = {"QD_BUS_LOG_KEPT": "300"}
COUNTS = {
    "decisions": "select count(*) from strategies_decision",
    "orders": "select count(*) from execution_order",
    "fills": "select count(*) from execution_fill",
    "bars of a minute": "select count(*) from market_bar_day where timeframe_s = 60",
    "adjustments": "select count(*) from portfolio_cashmovement where kind = 'adjustment'",
}
Sample = dict[str, float]


def main(arguments: list[str]) -> int:
    """Run it, write what it found; return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--speed", default="60")
    parser.add_argument("--seed", default="7")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "proof")
    options = parser.parse_args(arguments)
    market = ("--market", "synthetic", "--seed", options.seed, "--speed", options.speed)
    with RunningStack(*market, **BOUNDS) as stack:
        stack.wait_ready(READY_S)
        samples = samples_take(stack, options.minutes * 60)
        about = _about(stack, options)
        states = {f"{row['kind']} {row['key']}": row["state"] for row in stack.status()["residents"]}
        restarts = {row["name"]: row["restarts"] for row in stack.status()["processes"] if row["restarts"]}
    found = verdict(samples)
    options.out.mkdir(parents=True, exist_ok=True)
    body = {"about": about, "samples": samples, "found": found, "residents": states, "restarts": restarts}
    (options.out / "soak.json").write_text(json.dumps(body) + "\n")
    (options.out / "soak.svg").write_text(curves(samples, found))
    (options.out / "soak.md").write_text(page(about, found, states, restarts))
    print((options.out / "soak.md").read_text())
    bad_states = [name for name, state in states.items() if state not in ("ready", "trading")]
    return 1 if restarts or bad_states or not all(row["within"] for row in found.values()) else 0


def samples_take(stack: RunningStack, duration_s: float) -> list[Sample]:
    """Return the private memory of each process in MB, with `at` in seconds, every 15 s."""
    began, samples = time.monotonic(), []
    every_s = min(SAMPLE_S, duration_s / 24)
    while (at := time.monotonic() - began) < duration_s:
        assert stack.process is not None
        assert stack.process.poll() is None, f"the stack stopped after {at:.0f} s\n{stack.words()}"
        samples.append({"at": round(at, 1)} | memory_by_process(stack.status()["processes"]))
        print(f"{at:6.0f} s  " + "  ".join(f"{k} {v:.0f}" for k, v in samples[-1].items() if k != "at"), flush=True)
        time.sleep(max(0.0, every_s - (time.monotonic() - began - at)))
    return samples


def memory_by_process(processes: list[dict[str, Any]]) -> Sample:
    """Return the private memory of each named process with its children.

    Private: what is shared (PostgreSQL's buffers, a fixed size) fills up once, and would count once for each backend.
    """
    found: Sample = {}
    named = {row["pid"] for row in processes if row["pid"]}
    for row in (row for row in processes if row["pid"]):
        total = 0
        try:
            process = psutil.Process(row["pid"])
            children = [] if row["name"] == "supervisor" else process.children(recursive=True)
            family = [process, *(child for child in children if child.pid not in named)]
        except psutil.Error:
            continue
        for one in family:
            try:
                total += one.memory_full_info().uss
            except psutil.Error:  # a backend that has just ended
                continue
        found[row["name"]] = round(total / 2**20, 2)
    return found


def verdict(samples: list[Sample]) -> dict[str, dict[str, Any]]:
    """Return, for each process, its memory once settled and at the end, and whether it stayed within 5 %."""
    last = samples[-1]["at"]
    settled = min(SETTLED_S, last / 6)
    window = min(WINDOW_S, last / 6)
    found = {}
    for name in (name for name in samples[-1] if name != "at"):
        early = [s[name] for s in samples if name in s and settled <= s["at"] <= settled + window]
        late = [s[name] for s in samples if name in s and s["at"] >= last - window]
        if not early:
            continue
        before, after = statistics.median(early), statistics.median(late)
        growth = after / before - 1
        found[name] = {"settled_mb": before, "end_mb": after, "growth": round(growth, 4), "within": growth <= GROWTH}
    return found


def page(
    about: dict[str, Any], found: dict[str, dict[str, Any]], states: dict[str, str], restarts: dict[str, int]
) -> str:
    """Return the page that says what was found."""
    grew = [name for name, row in found.items() if not row["within"]]
    lines = [
        "# Soak",
        "",
        f"{about['minutes']:g} minutes of the whole stack on the synthetic market, seed {about['seed']}, at "
        f"{about['speed']} market seconds a second: {about['market_hours']:.1f} hours of market time.",
        f"Started {about['started']}, version {about['version']}, {about['machine']}.",
        "",
        f"**{'Memory grew: ' + ', '.join(grew) if grew else 'No process grew by more than 5 %.'}** "
        f"{'Restarted: ' + ', '.join(restarts) if restarts else 'No process died.'}",
        "",
        "![memory of each process](soak.svg)",
        "",
        "| process | settled, MB | at the end, MB | change |",
        "|---|---|---|---|",
    ]
    lines += [f"| {name} | {row['settled_mb']:.1f} | {row['end_mb']:.1f} | {row['growth']:+.1%} |"
              for name, row in found.items()]  # fmt: skip
    lines += ["", "| what it did | |", "|---|---|"]
    lines += [f"| {name} | {count:,} |" for name, count in about["counts"].items()]
    lines += [f"| {name} at the end | {state} |" for name, state in sorted(states.items())]
    bounds = ", ".join(f"`{name}={text}`" for name, text in BOUNDS.items())
    lines += ["", f"Run with {bounds}, so that what is bounded fills up before the ten minutes are over.", ""]
    lines += ["Private memory (USS) with children, median of two minutes. Every sample is in `soak.json`;"
              " `python -m tests.benchmarks.soak` makes this page anew."]  # fmt: skip
    return "\n".join(lines) + "\n"


def curves(samples: list[Sample], found: dict[str, dict[str, Any]]) -> str:
    """Return one small picture for each process, all on one time axis; each axis of memory begins at 0."""
    width, height, gap, columns = 300, 90, 44, 3
    names, end = list(found), samples[-1]["at"] or 1.0
    rows = -(-len(names) // columns)
    total_w, total_h = columns * (width + gap) + gap, rows * (height + gap) + gap
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_w} {total_h}" font-family="sans-serif" '
        f'font-size="12"><rect width="{total_w}" height="{total_h}" fill="#fff"/>'
    ]
    for index, name in enumerate(names):
        x, y = gap + index % columns * (width + gap), gap + index // columns * (height + gap)
        points = [(s["at"], s[name]) for s in samples if name in s]
        top = max(value for _, value in points) * 1.15 or 1.0
        line = " ".join(f"{x + at / end * width:.1f},{y + height - mb / top * height:.1f}" for at, mb in points)
        row = found[name]
        settled = y + height - row["settled_mb"] / top * height
        parts.append(
            f'<text x="{x}" y="{y - 8}">{name}: {row["settled_mb"]:.0f} to {row["end_mb"]:.0f} MB '
            f"({row['growth']:+.1%})</text>"
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="none" stroke="#c2cbd7"/>'
            f'<line x1="{x}" x2="{x + width}" y1="{settled:.1f}" y2="{settled:.1f}" stroke="#8a97a7" '
            f'stroke-dasharray="3 3"/><polyline points="{line}" fill="none" stroke="#a97413" stroke-width="1.5"/>'
        )
    minutes = f'<text x="{gap}" y="{total_h - 12}">0 to {end / 60:.0f} minutes; dashed: once settled</text>'
    return "\n".join([*parts, minutes, "</svg>"]) + "\n"


def _about(stack: RunningStack, options: argparse.Namespace) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "minutes": options.minutes, "speed": options.speed, "seed": options.seed,
        "market_hours": options.minutes * float(options.speed) / 60,
        "started": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time.time() - options.minutes * 60)),
        "version": f"{stack.status()['versions']['quarterdeck']} {commit.stdout.strip()}".strip(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GB",
        "counts": {name: int(stack.query(sql)[0][0]) for name, sql in COUNTS.items()},
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
