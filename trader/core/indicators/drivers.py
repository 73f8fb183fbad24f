"""One step at work, over arrays or value by value. The driver guards the kernel: a wrong shape never reaches it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trader.core.indicators import kernels
from trader.core.indicators.generate import batch_source, update_source
from trader.core.indicators.step import Scalar, Step
from trader.core.types.bars import FloatArray
from trader.core.types.errors import KernelError, StateError

_NONE = np.empty(0, dtype=np.float64)


def batch_run(step: Step, arrays: Sequence[Any], bound: tuple[Scalar, ...]) -> FloatArray | tuple[FloatArray, ...]:
    """Run a step over arrays; see `Step.batch`.

    The first bars of a window see NaN where there is no past: they run over a short padded copy,
    the rest over the input itself, one state carried through both.
    """
    columns = _columns(step, arrays)
    length = len(columns[0])
    outputs = tuple(np.empty(length, dtype=np.float64) for _ in step.outputs)
    window = step.window_length(bound)
    state, memory = _fresh(step, bound)
    driver = kernels.kernel("batch", batch_source(step), [step.function], _batch_signature(step))
    taken = [columns[step.inputs.index(name)] for name in step.scalars]
    rest = [*taken, *bound, *outputs]
    if not step.window:
        driver(0, length, 0, _NONE, 0, state, memory, *rest)
    else:
        source = columns[step.inputs.index(step.window[0])]
        start = min(window - 1, length)
        padded = np.concatenate([np.full(window - 1, np.nan), source[:start]])
        driver(0, start, 0, padded, window, state, memory, *rest)
        driver(start, length, 1 - window, source, window, state, memory, *rest)
    return outputs[0] if len(outputs) == 1 else outputs


class Live:
    """A step fed one value at a time. A snapshot of it is its whole state."""

    def __init__(self, step: Step, bound: tuple[Scalar, ...]) -> None:
        self.step = step
        self.bound = bound
        self._count = 0
        self._window = step.window_length(bound)
        self._ring = np.full(2 * self._window, np.nan)
        self._state, self._memory = _fresh(step, bound)
        self._out = np.empty(len(step.outputs), dtype=np.float64)
        self._driver = kernels.kernel("update", update_source(step), [step.function], _update_signature(step))

    def update(self, *values: float) -> float | tuple[float, ...]:
        """Take one value of each input; return the step's output, NaN until warm."""
        if len(values) != len(self.step.inputs):
            raise KernelError(f"step {self.step.name} takes {', '.join(self.step.inputs)}; got {len(values)} values")
        out = self._out
        self._driver(self._count, self._ring, self._window, self._state, self._memory, out, *values, *self.bound)
        self._count += 1
        return out.item(0) if len(out) == 1 else tuple(out.tolist())

    def snapshot(self) -> bytes:
        """Everything it remembers, for `restore` in any process with the same sources."""
        count = np.array([self._count], dtype=np.float64)
        return np.concatenate([count, self._state, self._memory, self._ring]).tobytes()

    def restore(self, body: bytes) -> None:
        """Take up a snapshot. Raises StateError when its size is not this step's."""
        parts = (self._state, self._memory, self._ring)
        flat = np.frombuffer(body, dtype=np.float64) if len(body) % 8 == 0 else _NONE
        if len(flat) != 1 + sum(len(part) for part in parts):
            raise StateError(f"snapshot of {len(body)} bytes does not fit step {self.step.name}{self.bound}")
        self._count = int(flat[0])
        at = 1
        for part in parts:
            part[:] = flat[at : at + len(part)]
            at += len(part)


def _fresh(step: Step, bound: tuple[Scalar, ...]) -> tuple[FloatArray, FloatArray]:
    return np.array(step.state, dtype=np.float64), np.full(step.memory_length(bound), np.nan)


def _columns(step: Step, arrays: Sequence[Any]) -> list[FloatArray]:
    if len(arrays) != len(step.inputs):
        raise KernelError(f"step {step.name} takes arrays of {', '.join(step.inputs)}; got {len(arrays)}")
    columns = [
        float_array(array, f"input {name} of step {step.name}") for name, array in zip(step.inputs, arrays, strict=True)
    ]
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise KernelError(f"inputs of step {step.name} have lengths {sorted(lengths)}: they must be equal")
    return columns


def float_array(array: Any, what: str, dimensions: int = 1) -> FloatArray:
    """A contiguous, writable float64 array of the asked number of dimensions, copied only where needed."""
    try:
        result = np.require(np.asarray(array, dtype=np.float64), requirements=["C", "W", "A"])
    except (TypeError, ValueError) as error:
        raise KernelError(f"{what}: cannot be read as float64 ({error})") from error
    if result.ndim != dimensions:
        raise KernelError(f"{what}: has {result.ndim} dimensions, must have {dimensions}")
    return result


def _batch_signature(step: Step) -> str:
    array = "float64[::1]"
    parameters = [_scalar_type(kind) for _, kind in step.parameters]
    arguments = ["int64", "int64", "int64", array, "int64", array, array]
    return _signature([*arguments, *[array] * len(step.scalars), *parameters, *[array] * len(step.outputs)])


def _update_signature(step: Step) -> str:
    array = "float64[::1]"
    parameters = [_scalar_type(kind) for _, kind in step.parameters]
    return _signature(["int64", array, "int64", array, array, array, *["float64"] * len(step.inputs), *parameters])


def _scalar_type(kind: str) -> str:
    return "int64" if kind == "int" else "float64"


def _signature(arguments: Sequence[str]) -> str:
    return f"void({', '.join(arguments)})"
