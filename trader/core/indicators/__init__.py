"""Steps: defined once, run over arrays or value by value, equal to the bit. Imports neither numba nor a step."""

from trader.core.indicators.definition import leaf
from trader.core.indicators.kernels import cache_dir, is_compiled, set_cache_dir
from trader.core.indicators.step import Feature, Step, step

__all__ = ["Feature", "Step", "cache_dir", "is_compiled", "leaf", "set_cache_dir", "step"]
