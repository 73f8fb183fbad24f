"""Compiled kernels: found again by another process, never stale, and the same bits as plain Python."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trader.core.indicators import kernels

needs_compiler = pytest.mark.compiler

PROJECT = {
    "constants.py": "SCALE = 2.0\n",
    "helpers.py": (
        "from trader.core.indicators import leaf\n"
        "import constants\n\n"
        "@leaf\ndef scaled(x: float) -> float:\n    return x * constants.SCALE\n"
    ),
    "mysteps.py": (
        "from trader.core.indicators import step\nimport helpers\n\n"
        "@step(state=(0.0,), inputs=('x',))\n"
        "def total(state, x: float, period: int):\n"
        "    value = state[0] + helpers.scaled(x)\n"
        "    return (value,), value\n"
    ),
    "main.py": (
        "import logging, sys, time\n"
        "logging.basicConfig(level=logging.DEBUG, format='%(name)s %(message)s')\n"
        "logging.getLogger('numba').setLevel(logging.WARNING)\n"
        "from trader.core.indicators import set_cache_dir\n"
        "import mysteps\n"
        "set_cache_dir(sys.argv[1])\n"
        "print(mysteps.total.batch([1.0, 2.0, 4.0], period=1).tolist())\n"
        "from trader.core.indicators import compiler\n"
        "print('hits', compiler.statistics['loaded'], 'compiled', compiler.statistics['compiled'])\n"
    ),
}


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    for name, text in PROJECT.items():
        (folder / name).write_text(text)
    return folder


def started(project: Path, cache: Path) -> subprocess.Popen:
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": f"{project}:{root}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(project / "main.py"), str(cache)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen) -> tuple[str, bool, str]:
    """What it printed, whether it compiled (and did not load), and what it logged."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    values, counts = out.strip().splitlines()
    return values, counts == "hits 0 compiled 1", err


def run(project: Path, cache: Path) -> tuple[str, bool, str]:
    return ended(started(project, cache))


@needs_compiler
def test_another_process_loads_what_the_first_compiled(project, tmp_path):
    assert run(project, tmp_path / "cache")[:2] == ("[2.0, 6.0, 14.0]", True)
    assert run(project, tmp_path / "cache")[:2] == ("[2.0, 6.0, 14.0]", False)


@needs_compiler
@pytest.mark.parametrize(
    ("name", "old", "new", "values"),
    [
        ("constants.py", "2.0", "3.0", "[3.0, 9.0, 21.0]"),
        ("helpers.py", "x * constants.SCALE", "x + constants.SCALE", "[3.0, 7.0, 13.0]"),
        ("mysteps.py", "state[0] +", "state[0] -", "[-2.0, -6.0, -14.0]"),
    ],
)
def test_a_change_in_any_file_that_is_reached_is_compiled_anew(project, tmp_path, name, old, new, values):
    run(project, tmp_path / "cache")
    path = project / name
    path.write_text(path.read_text().replace(old, new))
    assert run(project, tmp_path / "cache")[:2] == (values, True)


@needs_compiler
def test_touching_and_moving_files_changes_nothing(project, tmp_path):
    run(project, tmp_path / "cache")
    for path in project.glob("*.py"):
        os.utime(path, (1, 1))
    moved, cache = tmp_path / "elsewhere", tmp_path / "copied"
    shutil.copytree(project, moved)
    shutil.copytree(tmp_path / "cache", cache)
    for path in cache.iterdir():
        os.utime(path, (1, 1))
    assert run(moved, cache)[:2] == ("[2.0, 6.0, 14.0]", False)


@needs_compiler
def test_two_processes_that_compile_at_once_both_work_and_leave_a_whole_cache(project, tmp_path):
    cache = tmp_path / "cache"
    both = [started(project, cache), started(project, cache)]
    assert [ended(process)[0] for process in both] == ["[2.0, 6.0, 14.0]"] * 2
    assert run(project, cache)[:2] == ("[2.0, 6.0, 14.0]", False)


@needs_compiler
def test_a_folder_that_cannot_be_written_compiles_in_memory_and_says_so(project, tmp_path):
    # a file where the folder should be: refused to root too, unlike a mode
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    values, compiled, log = run(project, blocked)
    assert (values, compiled) == ("[2.0, 6.0, 14.0]", True)
    assert "cannot be written" in log


@needs_compiler
def test_a_torn_cache_file_costs_a_compilation_and_no_more(project, tmp_path):
    cache = tmp_path / "cache"
    run(project, cache)
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:40])
    values, compiled, log = run(project, cache)
    assert (values, compiled) == ("[2.0, 6.0, 14.0]", True)
    assert "cannot be read" in log


BITS = """
import hashlib, math
import numpy as np
from tests.core.catalogue import every_step, inputs_for, outputs, parameters_for, random_walk
close = random_walk(3_000)
close[500:503] = np.nan
digest = hashlib.sha256()
for each in every_step():
    for period in (2, 14):
        for column in outputs(each.batch(*inputs_for(each, close), **parameters_for(each, period))):
            digest.update(np.where(np.isnan(column), np.nan, column).tobytes())
from trader.core.engine import Pipeline, PositionView
from apps.strategies.library.mean_reversion import STRATEGY
pipeline = Pipeline(STRATEGY, {"period": 12, "regime_period": 10}, ["linear"])
for i, value in enumerate(close[:800].tolist()):
    decided = pipeline.step(0, (value,) * 5, PositionView(float(i % 3 - 1), 100.0, 60.0 * i))
    digest.update(repr(decided).encode())
print(digest.hexdigest())
"""


def printed(code: str, **env: str) -> str:
    root = Path(__file__).resolve().parents[2]
    known = {key: value for key, value in os.environ.items() if key != "NUMBA_DISABLE_JIT"}
    full = {**known, "PYTHONPATH": str(root), **env}
    done = subprocess.run(
        [sys.executable, "-c", code], env=full, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_compiler
def test_plain_python_gives_the_same_bits_as_the_compiler():
    assert printed(BITS) == printed(BITS, NUMBA_DISABLE_JIT="1")


@needs_compiler
def test_no_step_reads_or_writes_outside_its_arrays():
    # with bounds checked, a step that leaves its arrays raises instead of reading what lies beside
    assert re.fullmatch(r"[0-9a-f]{64}", printed(BITS, NUMBA_BOUNDSCHECK="1"))


def test_importing_the_core_and_a_strategy_loads_no_compiler_and_is_fast():
    code = (
        "import sys, time; t = time.process_time(); import trader.core, trader.core.engine, trader.core.risk, "
        "apps.strategies.library.mean_reversion; took = time.process_time() - t; "
        "print('numba' in sys.modules, 'django' in sys.modules, took)"
    )
    numba, django, took = printed(code).split()
    assert (numba, django) == ("False", "False")
    # half a second of the processor's time on an idle machine; this bound holds on a busy one
    assert float(took) < 2.0


def test_without_numba_installed_kernels_are_plain_python():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from trader.core.indicators import is_compiled, trend\n"
        "print(is_compiled(), trend.sma.batch([1.0, 2.0, 3.0], period=2).tolist())"
    )
    assert printed(code) == "False [nan, 1.5, 2.5]"


@needs_compiler
def test_compiled_drivers_hold_neither_reference_counts_nor_fused_operations():
    from trader.core.indicators import volatility

    text = kernels_text(volatility.bollinger)
    assert "NRT_" not in text["llvm"]
    assert " fmuladd" not in text["llvm"]
    assert not re.search(r"\bvfn?m(add|sub)", text["asm"])


def kernels_text(step) -> dict[str, str]:
    from trader.core.indicators.drivers import _batch_signature
    from trader.core.indicators.generate import batch_source

    # compiled here and now: what comes from the disk has no text to look at
    before = kernels.cache_dir()
    kernels.set_cache_dir(None)
    try:
        from trader.core.indicators import compiler

        source = batch_source(step)
        module = kernels._module("qd_looked_at", source, [step.function])
        driver = compiler.compiled(module.batch, _batch_signature(step), "0" * 64, None)
    finally:
        kernels.set_cache_dir(before)
    (llvm,) = driver.inspect_llvm().values()
    (asm,) = driver.inspect_asm().values()
    return {"llvm": llvm, "asm": asm}


@needs_compiler
def test_a_step_that_does_not_compile_runs_in_python_and_says_why(caplog):
    from trader.core.indicators import step

    @step(state=(0.0,), inputs=("x",))
    def does_not_compile(state, x: float):
        listed = {"power": x**2}
        return (state[0],), listed["power"]

    assert does_not_compile.batch([1.0, 3.0]).tolist() == [1.0, 9.0]
    (record,) = [r for r in caplog.records if "plain Python" in r.message]
    assert "does not compile" in record.message
    assert "a power is not allowed" in record.message


@needs_compiler
def test_a_call_never_compiles_again():
    from trader.core.indicators import trend

    live = trend.ema.live(period=3)
    with pytest.raises(TypeError, match="No matching definition"):
        live._driver(live._arena, "five")


def test_a_kernel_is_built_once_per_process():
    from trader.core.indicators import trend

    assert trend.ema.live(period=3)._driver is trend.ema.live(period=4)._driver
