"""From a driver's text to a function: compiled and cached on disk, or plain Python where numba is off.

The compiler is loaded at the first kernel, never by an import. Compiled code lies in the cache folder
under the fingerprint of all that it was made of, so that another process finds it, dates and places
of files do not matter, and a changed source never meets an old result.
"""

from __future__ import annotations

import inspect
import linecache
import logging
import os
import sys
import threading
import types
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np

from trader.core.indicators import sources
from trader.core.indicators.bits import violations
from trader.core.indicators.generate import GENERATOR_VERSION, leaf_name
from trader.core.indicators.rings import push
from trader.core.types.errors import KernelError

logger = logging.getLogger(__name__)

Kernel = Callable[..., Any]
"""A driver: compiled, or plain Python."""

_lock = threading.RLock()
_cache_dir: Path | None = None
_plain_remarks: dict[str, list[str]] = {}
_kernels: dict[tuple[str, str], Kernel] = {}


def set_cache_dir(path: Path | str | None) -> None:
    """Where compiled kernels are kept between processes; None compiles in memory. Call it once, at the start."""
    global _cache_dir
    _cache_dir = None if path is None else Path(path)


def cache_dir() -> Path | None:
    """The folder of compiled kernels, or None."""
    return _cache_dir


def is_compiled() -> bool:
    """Whether kernels are compiled here: numba is installed and not switched off (NUMBA_DISABLE_JIT=1)."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return False
    return _compiler() is not None


def kernel(name: str, text: str, leaves: Sequence[Callable[..., Any]], signature: str) -> Kernel:
    """The function `name` of a driver's text, with its leaves in place; the same one for the same fingerprint.

    `signature` are its argument types in numba's words; it is compiled for them at once, so that no
    call ever compiles. What does not compile runs as plain Python, slower, and `remarks_on` says why.
    """
    key = (name, fingerprint(text, leaves, signature))
    with _lock:
        if key not in _kernels:
            _kernels[key] = _built(name, text, leaves, signature, key[1])
        return _kernels[key]


def fingerprint(text: str, leaves: Sequence[Callable[..., Any]], *more: str) -> str:
    """64 hex digits over all that a kernel is made of: driver, whole sources, options, compiler and CPU."""
    compiler = _compiler() if is_compiled() else None
    build = compiler.build_description() if compiler else "plain Python"
    names = ",".join(f"{function.__module__}.{function.__qualname__}" for function in leaves)
    return sources.sources_hash(leaves, text, names, f"generator {GENERATOR_VERSION}", build, *more)


def _built(name: str, text: str, leaves: Sequence[Callable[..., Any]], signature: str, digest: str) -> Kernel:
    module = _module(f"qd_{name}_{digest[:24]}", text, leaves)
    plain: Kernel = getattr(module, name)
    compiler = _compiler() if is_compiled() else None
    if compiler is None:
        return _quiet(plain)
    try:
        ready: Kernel = compiler.compiled(plain, signature, digest, _cache_dir)
    except KernelError as error:
        remarks = [_first_line(error), *_unsafe(leaves)]
        _plain_remarks[digest] = remarks
        logger.warning("%s runs as plain Python, slower: %s", name, "; ".join(remarks))
        return _quiet(plain)
    return ready


def remarks_on(text: str, leaves: Sequence[Callable[..., Any]], signature: str) -> list[str]:
    """Why a kernel runs as plain Python although there is a compiler, and where its bits may differ; else empty."""
    return list(_plain_remarks.get(fingerprint(text, leaves, signature), []))


def _unsafe(leaves: Sequence[Callable[..., Any]]) -> list[str]:
    functions = [function for function in leaves if inspect.isfunction(function)]
    return [f"bits may differ: {remark}" for function in functions for remark in violations(function)]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]


def _quiet(plain: Kernel) -> Kernel:
    """Plain Python on numpy's scalars, without its warnings: compiled code gives none for an infinity either."""

    @wraps(plain)
    def driver(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            return plain(*arguments)

    return driver


def _module(name: str, text: str, leaves: Sequence[Callable[..., Any]]) -> types.ModuleType:
    """The driver's module, known to imports by its name: what is loaded from the cache asks for it."""
    module = types.ModuleType(name)
    module.__dict__["push"] = push
    for index, function in enumerate(leaves):
        module.__dict__[leaf_name(index)] = function
    filename = f"<{name}>"
    exec(compile(text, filename, "exec"), module.__dict__)
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    sys.modules[name] = module
    return module


def _compiler() -> Any:
    try:
        from trader.core.indicators import compiler
    except ImportError:
        return None
    return compiler
