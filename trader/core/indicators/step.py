"""What a step is: a pure function of its own state and one new row, and what it declares about itself."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from trader.core.types.errors import KernelError

if TYPE_CHECKING:
    from trader.core.indicators.drivers import Live
    from trader.core.types.bars import FloatArray

Leaf = TypeVar("Leaf", bound=Callable[..., Any])
Scalar = int | float

LEAVES: list[Callable[..., Any]] = []
"""Every function that a kernel may call; made inlinable when the compiler is first loaded."""

_ARGUMENTS = {int: "int", float: "float", "int": "int", "float": "float"}
_EXPRESSION_NODES = (ast.Expression, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Name, ast.Load, ast.Constant)


def leaf(function: Leaf) -> Leaf:
    """Mark a helper that kernels call. Plain Python stays plain; compiled drivers inline it."""
    LEAVES.append(function)
    return function


@dataclass(frozen=True)
class Step:
    """A step: its function and what it remembers. Made by `step`, used through `on`, `batch` and `live`.

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

    def on(self, *inputs: str, **parameters: Scalar) -> Feature:
        """Declare a feature: this step over named columns or earlier features, with its parameters."""
        given = inputs or self.inputs
        if len(given) != len(self.inputs):
            raise KernelError(f"step {self.name} takes inputs {', '.join(self.inputs)}; got {', '.join(given)}")
        return Feature(self, given, self.bind(parameters))

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

    def batch(self, *arrays: FloatArray, **parameters: Scalar) -> FloatArray | tuple[FloatArray, ...]:
        """Run over whole arrays: equal to the bit to `live` fed one value after the other.

        `arrays`: one float64 array of shape (n,) for each input. Returns an array of shape (n,) for
        each output, NaN until warm. Raises KernelError for shapes or parameters that do not fit.
        """
        from trader.core.indicators.drivers import batch_run

        return batch_run(self, arrays, self.bind(parameters))

    def live(self, **parameters: Scalar) -> Live:
        """The same function, one value at a time: `live(period=20).update(x)`."""
        from trader.core.indicators.drivers import Live

        return Live(self, self.bind(parameters))

    def _length(self, expression: str, bound: Sequence[Scalar]) -> int:
        names = {name: value for (name, _), value in zip(self.parameters, bound, strict=True)}
        length = _evaluated(ast.parse(expression, mode="eval").body, names)
        if not isinstance(length, int) or length < 1:
            raise KernelError(f"step {self.name}: length {expression!r} is {length}, must be a whole number above 0")
        return length


@dataclass(frozen=True)
class Feature:
    """One named number of a strategy: a step over inputs, with parameters bound, and which output is taken."""

    step: Step
    inputs: tuple[str, ...]
    bound: tuple[Scalar, ...]
    output: str = ""

    def take(self, output: str) -> Feature:
        """The named output of a step that has several."""
        if output not in self.step.outputs:
            raise KernelError(f"step {self.step.name} has outputs {', '.join(self.step.outputs)}; not {output!r}")
        return replace(self, output=output)

    @property
    def output_index(self) -> int:
        return self.step.outputs.index(self.output) if self.output else 0

    @property
    def same_work(self) -> tuple[Step, tuple[str, ...], tuple[Scalar, ...]]:
        """Two features with equal work are computed once."""
        return self.step, self.inputs, self.bound


def step(
    *,
    state: tuple[Scalar, ...] = (),
    inputs: tuple[str, ...] = ("close",),
    window: tuple[str, str] | None = None,
    memory: str | None = None,
    outputs: tuple[str, ...] = ("value",),
) -> Callable[[Callable[..., Any]], Step]:
    """Make a step of a function `(state, inputs…, w, memory, parameters…) -> (state, out)`.

    The function names what it takes: `state` first, then any of its `inputs` as floats, `w` for its
    window (oldest first, newest last, NaN before the start), `memory`, and its parameters, annotated
    int or float. It returns its new state and its output, or a tuple where there are several outputs.
    Raises KernelError, naming the function, for a signature that does not fit.
    """

    def made(function: Callable[..., Any]) -> Step:
        whole = _step_of(function, state, inputs, window, memory, outputs)
        leaf(function)
        return whole

    return made


def _step_of(
    function: Callable[..., Any],
    state: tuple[Scalar, ...],
    inputs: tuple[str, ...],
    window: tuple[str, str] | None,
    memory: str | None,
    outputs: tuple[str, ...],
) -> Step:
    name = function.__name__
    taken = list(inspect.signature(function).parameters.values())
    if not taken or taken[0].name != "state":
        raise KernelError(f"step {name}: the first argument must be `state`")
    if window and window[0] not in inputs:
        raise KernelError(f"step {name}: window over {window[0]!r}, which is not among its inputs {inputs}")
    scalars = tuple(p.name for p in taken if p.name in inputs)
    lent = [part for part, declared in (("w", window), ("memory", memory)) if declared]
    rest = taken[1 + len(scalars) + len(lent) :]
    expected = ["state", *scalars, *lent, *(p.name for p in rest)]
    if [p.name for p in taken] != expected:
        raise KernelError(f"step {name}: arguments must be in the order {', '.join(expected)}")
    parameters = tuple((p.name, _kind(name, p)) for p in rest)
    made = Step(name, function, state, inputs, scalars, parameters, outputs, window, memory)
    for expression in (window[1] if window else None, memory):
        if expression:
            _expression_checked(made, expression)
    return made


def _kind(step_name: str, parameter: inspect.Parameter) -> str:
    kind = _ARGUMENTS.get(parameter.annotation)
    if kind is None:
        raise KernelError(f"step {step_name}: parameter {parameter.name} must be annotated int or float")
    return kind


def _typed(step_name: str, name: str, kind: str, value: Scalar) -> Scalar:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise KernelError(f"step {step_name}: parameter {name} is {value!r}, must be a number")
    if kind == "float":
        return float(value)
    if value != int(value):
        raise KernelError(f"step {step_name}: parameter {name} is {value!r}, must be a whole number")
    return int(value)


def _expression_checked(made: Step, expression: str) -> None:
    names = {name for name, kind in made.parameters if kind == "int"}
    for node in ast.walk(ast.parse(expression, mode="eval")):
        known = isinstance(node, _EXPRESSION_NODES) and (not isinstance(node, ast.Name) or node.id in names)
        if not known:
            raise KernelError(f"step {made.name}: length {expression!r} may use {sorted(names)}, +, -, * and numbers")


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
