"""Every step that exists, found by walking the packages that may hold one, and data to run them on."""

import importlib
import pkgutil
from functools import cache

import numpy as np

import apps.strategies.library
import trader.core.indicators
from trader.core.indicators import Step

PERIODS = (2, 5, 14)


@cache
def every_step() -> tuple[Step, ...]:
    """All steps of the core and of the strategies' library, by name."""
    found: dict[str, Step] = {}
    for package in (trader.core.indicators, apps.strategies.library):
        for module in _modules(package):
            found.update({f"{s.function.__module__}.{s.name}": s for s in vars(module).values() if isinstance(s, Step)})
    return tuple(found[name] for name in sorted(found))


def every_module():
    """All modules that may hold leaves."""
    return [m for package in (trader.core.indicators, apps.strategies.library) for m in _modules(package)]


def _modules(package):
    names = [info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [importlib.import_module(name) for name in names if not name.endswith(".compiler")]


def parameters_for(step: Step, period: int) -> dict:
    """Parameters that are allowed for a step: whole numbers are periods, others a plain factor."""
    return {name: period if kind == "int" else 1.5 for name, kind in step.parameters}


def random_walk(n: int, seed: int = 7) -> np.ndarray:
    """Prices near 100 with calm and wild stretches."""
    rng = np.random.default_rng(seed)
    wild = np.where(np.arange(n) // 50 % 3 == 1, 5.0, 1.0)
    return 100.0 + np.cumsum(rng.normal(size=n) * 0.05 * wild)


def inputs_for(step: Step, close: np.ndarray) -> list[np.ndarray]:
    """An array for each input: highs above and lows below what is given, the rest moved a little."""
    shift = {"high": 0.07, "low": -0.06, "open": 0.01, "volume": 3.0}
    return [close + shift.get(name, 0.02 * at) for at, name in enumerate(step.inputs)]


def outputs(result) -> list[np.ndarray]:
    return list(result) if isinstance(result, tuple) else [result]
