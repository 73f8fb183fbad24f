"""One step at work, over arrays or value by value. The driver guards the kernel: a wrong shape never reaches it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trader.core.indicators import kernels
from trader.core.indicators.definition import Definition, Scalar
from trader.core.indicators.generate import batch_source, update_source
from trader.core.types.bars import FloatArray
from trader.core.types.errors import KernelError, StateError

_NONE = np.empty(0, dtype=np.float64)


def batch_run(
    step: Definition, arrays: Sequence[Any], bound: tuple[Scalar, ...]
) -> FloatArray | tuple[FloatArray, ...]:
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

    def __init__(self, step: Definition, bound: tuple[Scalar, ...]) -> None:
        self.step = step
        window, (state, memory) = step.window_length(bound), _fresh(step, bound)
        head = np.array([0, window, len(memory), *bound], dtype=np.float64)
        self._head = head[1:].tobytes()
        self._arena = np.concatenate([head, state, memory, np.full(2 * window, np.nan)])
        self._driver = kernels.kernel("update", update_source(step), [step.function], _update_signature(step))

    def update(self, *values: float) -> float | tuple[float, ...]:
        """Take one value of each input; return the step's output, NaN until warm."""
        try:
            result: float | tuple[float, ...] = self._driver(self._arena, *values)
        except TypeError as error:
            wanted = ", ".join(self.step.inputs)
            raise KernelError(f"step {self.step.name} takes numbers {wanted}; got {len(values)} values") from error
        return result

    def snapshot(self) -> bytes:
        """Everything it remembers, for `restore` in any process with the same sources."""
        return self._arena.tobytes()

    def restore(self, body: bytes) -> None:
        """Take up a snapshot. Raises StateError when its size or parameters are not this step's."""
        if len(body) != self._arena.nbytes or body[8 : 8 + len(self._head)] != self._head:
            raise StateError(f"snapshot of {len(body)} bytes does not fit step {self.step.name}")
        self._arena[:] = np.frombuffer(body, dtype=np.float64)


def _fresh(step: Definition, bound: tuple[Scalar, ...]) -> tuple[FloatArray, FloatArray]:
    return np.array(step.state, dtype=np.float64), np.full(step.memory_length(bound), np.nan)


def _columns(step: Definition, arrays: Sequence[Any]) -> list[FloatArray]:
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


def _batch_signature(step: Definition) -> str:
    array = "float64[::1]"
    parameters = [_scalar_type(kind) for _, kind in step.parameters]
    arguments = ["int64", "int64", "int64", array, "int64", array, array]
    return _signature([*arguments, *[array] * len(step.scalars), *parameters, *[array] * len(step.outputs)])


def _update_signature(step: Definition) -> str:
    outputs = len(step.outputs)
    result = "float64" if outputs == 1 else f"UniTuple(float64, {outputs})"
    return _signature(["float64[::1]", *["float64"] * len(step.inputs)], result)


def _scalar_type(kind: str) -> str:
    return "int64" if kind == "int" else "float64"


def _signature(arguments: Sequence[str], result: str = "void") -> str:
    return f"{result}({', '.join(arguments)})"
