"""What a step declares about itself: its function, its state, its window, its parameters."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from trader.core.types.errors import KernelError

Leaf = TypeVar("Leaf", bound=Callable[..., Any])
Scalar = int | float

LEAVES: list[Callable[..., Any]] = []
"""Every function that a kernel may call; made inlinable when the compiler is first loaded."""


def leaf(function: Leaf) -> Leaf:
    """Mark a helper that kernels call. Plain Python stays plain; compiled drivers inline it."""
    LEAVES.append(function)
    return function


@dataclass(frozen=True)
class Definition:
    """A step's function and what it remembers.

    `state` holds the scalars at the start; their types (int or float) stay. `window` names an input
    and how many of its values, newest last, the function sees; `memory` is the length of an array
    of its own. Lengths are sums and products of parameters.
    """

    name: str
    function: Callable[..., Any]
    state: tuple[Scalar, ...]
    inputs: tuple[str, ...]
    scalars: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]
    outputs: tuple[str, ...]
    window: tuple[str, str] | None
    memory: str | None

    def __call__(self, *arguments: Any) -> Any:
        """The function itself, as written."""
        return self.function(*arguments)

    def bind(self, parameters: Mapping[str, Scalar]) -> tuple[Scalar, ...]:
        """Parameters in order and of the declared type. Raises KernelError naming what is missing or wrong."""
        names = [name for name, _ in self.parameters]
        if set(names) != set(parameters):
            raise KernelError(f"step {self.name} takes parameters {names}; got {sorted(parameters)}")
        return tuple(_typed(self.name, name, kind, parameters[name]) for name, kind in self.parameters)

    def window_length(self, bound: Sequence[Scalar]) -> int:
        """Values that the function sees of its windowed input; 0 without a window."""
        return self._length(self.window[1], bound) if self.window else 0

    def memory_length(self, bound: Sequence[Scalar]) -> int:
        """Length of the step's own array; 0 without one."""
        return self._length(self.memory, bound) if self.memory else 0

    def _length(self, expression: str, bound: Sequence[Scalar]) -> int:
        names = {name: value for (name, _), value in zip(self.parameters, bound, strict=True)}
        length = _evaluated(ast.parse(expression, mode="eval").body, names)
        if not isinstance(length, int) or length < 1:
            raise KernelError(f"step {self.name}: length {expression!r} is {length}, must be a whole number above 0")
        return length


def _typed(step_name: str, name: str, kind: str, value: Scalar) -> Scalar:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise KernelError(f"step {step_name}: parameter {name} is {value!r}, must be a number")
    if kind == "float":
        return float(value)
    if value != int(value):
        raise KernelError(f"step {step_name}: parameter {name} is {value!r}, must be a whole number")
    return int(value)


def _evaluated(node: ast.expr, names: Mapping[str, Scalar]) -> Any:
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.Constant):
        return node.value
    assert isinstance(node, ast.BinOp)
    left, right = _evaluated(node.left, names), _evaluated(node.right, names)
    if isinstance(node.op, ast.Add):
        return left + right
    return left - right if isinstance(node.op, ast.Sub) else left * right
