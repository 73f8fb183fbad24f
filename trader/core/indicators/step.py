"""A step: a pure function of its own state and one new row, run over arrays or one value at a time."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from trader.core.indicators.definition import Definition, Scalar, leaf
from trader.core.indicators.drivers import Live, batch_run
from trader.core.types.bars import FloatArray
from trader.core.types.errors import KernelError

_ARGUMENTS = {int: "int", float: "float", "int": "int", "float": "float"}
_EXPRESSION_NODES = (ast.Expression, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Name, ast.Load, ast.Constant)


@dataclass(frozen=True)
class Step(Definition):
    """A step: made by `step`, used through `on`, `batch` and `live`."""

    def on(self, *inputs: str, **parameters: Scalar) -> Feature:
        """Declare a feature: this step over named columns or earlier features, with its parameters."""
        given = inputs or self.inputs
        if len(given) != len(self.inputs):
            raise KernelError(f"step {self.name} takes inputs {', '.join(self.inputs)}; got {', '.join(given)}")
        return Feature(self, given, self.bind(parameters))

    def batch(self, *arrays: FloatArray, **parameters: Scalar) -> FloatArray | tuple[FloatArray, ...]:
        """Run over whole arrays: equal to the bit to `live` fed one value after the other.

        `arrays`: one float64 array of shape (n,) for each input. Returns an array of shape (n,) for
        each output, NaN until warm. Raises KernelError for shapes or parameters that do not fit.
        """
        return batch_run(self, arrays, self.bind(parameters))

    def live(self, **parameters: Scalar) -> Live:
        """The same function, one value at a time: `live(period=20).update(x)`."""
        return Live(self, self.bind(parameters))


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


def _expression_checked(made: Step, expression: str) -> None:
    names = {name for name, kind in made.parameters if kind == "int"}
    for node in ast.walk(ast.parse(expression, mode="eval")):
        known = isinstance(node, _EXPRESSION_NODES) and (not isinstance(node, ast.Name) or node.id in names)
        if not known:
            raise KernelError(f"step {made.name}: length {expression!r} may use {sorted(names)}, +, -, * and numbers")
