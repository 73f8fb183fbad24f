"""Which operations a kernel may use: those whose bits do not depend on how they were compiled.

Not allowed are powers (a compiled `x**2` differs from Python's), library sums and products (their
order is not fixed), `min` and `max` (they disagree about NaN), and anything that allocates.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import math
import textwrap
from collections.abc import Callable
from typing import Any

from trader.core.indicators.definition import LEAVES, Definition

_MATH = frozenset({math.sqrt, math.log, math.exp, math.tanh, math.fmod, math.floor, math.ceil, math.isnan, math.fabs})
_BUILTINS = frozenset({"int", "float", "abs", "len", "range", "round", "bool"})
_FORBIDDEN: dict[type[ast.AST], str] = {
    ast.Pow: "a power",
    ast.MatMult: "a matrix product",
    ast.List: "a list",
    ast.Dict: "a dict",
    ast.Set: "a set",
    ast.ListComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.GeneratorExp: "a generator",
    ast.Lambda: "a lambda",
    ast.JoinedStr: "text",
    ast.Try: "a try",
    ast.With: "a with",
    ast.Raise: "a raise",
    ast.Global: "a global",
    ast.Nonlocal: "a nonlocal",
    ast.Import: "an import",
    ast.ImportFrom: "an import",
    ast.Yield: "a yield",
    ast.Await: "an await",
}


def violations(function: Callable[..., Any] | Definition) -> list[str]:
    """What a leaf does that a kernel may not, each with its line; empty when its bits are safe."""
    plain = function.function if isinstance(function, Definition) else function
    tree = ast.parse(textwrap.dedent(inspect.getsource(plain)))
    (definition,) = tree.body
    found = [_violation(node, plain) for part in getattr(definition, "body", []) for node in ast.walk(part)]
    return [f"{plain.__qualname__}: {text}" for text in found if text]


def _violation(node: ast.AST, function: Callable[..., Any]) -> str:
    for kind, word in _FORBIDDEN.items():
        if isinstance(node, kind):
            return f"line {getattr(node, 'lineno', '?')}: {word} is not allowed in a kernel"
    if isinstance(node, ast.Call) and not _call_is_safe(node.func, function):
        return f"line {node.lineno}: {ast.unparse(node.func)}() is not among what kernels may call"
    return ""


def _call_is_safe(called: ast.expr, function: Callable[..., Any]) -> bool:
    target = _resolved(called, function.__globals__)
    if isinstance(target, type) or target in vars(builtins).values():
        return getattr(target, "__name__", "") in _BUILTINS
    return any(target is known for known in (*LEAVES, *_MATH))


def _resolved(called: ast.expr, names: dict[str, Any]) -> Any:
    if isinstance(called, ast.Name):
        return names.get(called.id, getattr(builtins, called.id, None))
    if isinstance(called, ast.Attribute):
        return getattr(_resolved(called.value, names), called.attr, None)
    return None
