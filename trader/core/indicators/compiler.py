"""The compiler's side: options that keep bits, leaves made inlinable, and a cache keyed by fingerprint.

Importing this module imports numba (a quarter of a second); `kernels` does so at the first kernel.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# SVML's functions differ from libm's in the last bit; must be set before numba is imported
os.environ.setdefault("NUMBA_DISABLE_INTEL_SVML", "1")

import llvmlite
import numba
from llvmlite import binding
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.errors import NumbaError
from numba.extending import register_jitable

from trader.core.indicators.definition import LEAVES
from trader.core.types.errors import KernelError

logger = logging.getLogger(__name__)

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": False, "nogil": True, "_nrt": False}
"""No reference counting: slices cost 7 to 9 ns a bar with it. Python allocates every buffer."""
LEAF_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": False, "forceinline": True, "_nrt": False}
_SWITCHES = ("NUMBA_BOUNDSCHECK", "NUMBA_OPT", "NUMBA_DISABLE_INTEL_SVML", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")

statistics = {"loaded": 0, "compiled": 0}
"""Kernels of this process that came from the disk, and that had to be compiled."""

_registered: set[Callable[..., Any]] = set()
_lock = threading.Lock()


def build_description() -> str:
    """Compiler, options and CPU in words: part of every fingerprint."""
    switches = [f"{name}={os.environ.get(name, '')}" for name in _SWITCHES]
    machine = f"{binding.get_process_triple()} {binding.get_host_cpu_name()} {_cpu_features()}"
    return f"numba {numba.__version__} llvmlite {llvmlite.__version__} {OPTIONS} {LEAF_OPTIONS} {switches} {machine}"


def compiled(
    function: Callable[..., None], signature: str, fingerprint: str, folder: Path | None
) -> Callable[..., None]:
    """Compile for one signature, or load what an earlier process compiled.

    A folder that cannot be written is read, and what is missing there is compiled in memory and
    said so. Raises KernelError with the compiler's words where the code does not compile.
    """
    _leaves_register()
    dispatcher = numba.njit(**OPTIONS)(function)
    if folder is not None:
        dispatcher._cache = _FingerprintCache.under(function, fingerprint, folder)
    started = time.perf_counter()
    try:
        dispatcher.compile(signature)
    except NumbaError as error:
        raise KernelError(f"kernel {function.__name__} does not compile: {error}") from error
    dispatcher.disable_compile()
    how = "loaded" if sum(dispatcher.stats.cache_hits.values()) else "compiled"
    statistics[how] += 1
    logger.debug("kernel %s %s in %.3f s", function.__name__, how, time.perf_counter() - started)
    ready: Callable[..., None] = dispatcher
    return ready


def _leaves_register() -> None:
    with _lock:
        for function in LEAVES:
            if function not in _registered:
                register_jitable(**LEAF_OPTIONS)(function)
                _registered.add(function)


def _cpu_features() -> str:
    try:
        features: str = binding.get_host_cpu_features().flatten()
    except RuntimeError:
        return "features unknown"
    return features


class _Locator(_CacheLocator):
    """Where a kernel's files lie. Its stamp is the fingerprint: touching or copying files changes nothing."""

    def __init__(self, fingerprint: str, folder: Path) -> None:
        self.fingerprint = fingerprint
        self.folder = folder

    def get_cache_path(self) -> str:
        return str(self.folder)

    def get_source_stamp(self) -> str:
        return self.fingerprint

    def get_disambiguator(self) -> str:
        return self.fingerprint[:24]


class _FingerprintCache(FunctionCache):
    """Numba's own cache of compiled functions, found by fingerprint instead of by a file's date."""

    @classmethod
    def under(cls, function: Callable[..., None], fingerprint: str, folder: Path) -> _FingerprintCache:
        class Placed(_Locator):
            @classmethod
            def from_function(cls, _function: Any, _file: str) -> _Locator:
                return cls(fingerprint, folder)

        class Implementation(CompileResultCacheImpl):
            _locator_classes = [Placed]

        class Cache(cls):  # type: ignore[misc, valid-type]
            _impl_class = Implementation

        cache: _FingerprintCache = Cache(function)
        return cache

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception as error:  # a torn or foreign file must cost a compilation, not a start
            logger.warning("kernel cache %s cannot be read (%r): compiling instead", self.cache_path, error)
            self._forgotten()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except OSError as error:
            logger.warning("kernel cache %s cannot be written (%s): compiled in memory", self.cache_path, error)

    def _forgotten(self) -> None:
        """Empty this kernel's index, so that what was just compiled can be written beside it."""
        try:
            self.flush()  # type: ignore[no-untyped-call]
        except OSError as error:
            logger.warning("kernel cache %s cannot be written (%s): compiled in memory", self.cache_path, error)
            self.disable()  # type: ignore[no-untyped-call]
