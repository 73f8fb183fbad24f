"""Parameters of a strategy: typed, with defaults, ranges and words, checked before anything is deployed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from trader.core.types.errors import ConfigurationError


@dataclass(frozen=True)
class Range:
    """Bounds of a parameter, both allowed, its unit, and what it does."""

    low: float
    high: float
    help: str
    unit: str = ""


@dataclass(frozen=True)
class Parameter:
    """One parameter as a person sees it."""

    name: str
    kind: type[int] | type[float]
    default: int | float
    range: Range


def parameters_of(cls: type[NamedTuple]) -> tuple[Parameter, ...]:
    """Parameters that a NamedTuple declares: `period: Annotated[int, Range(5, 500, "…")] = 20`.

    Raises ConfigurationError for a field without a type, range or default.
    """
    hints = get_type_hints(cls, include_extras=True)
    defaults: dict[str, Any] = getattr(cls, "_field_defaults", {})
    return tuple(_parameter(name, hint, defaults.get(name)) for name, hint in hints.items())


def checked(cls: type[Any], given: Mapping[str, Any]) -> Any:
    """An instance of `cls` from values by name; what is not given has its default.

    Raises ConfigurationError naming the field and what is allowed, for an unknown name too.
    """
    known = parameters_of(cls)
    unknown = sorted(set(given) - {parameter.name for parameter in known})
    if unknown:
        names = ", ".join(parameter.name for parameter in known)
        raise ConfigurationError(f"parameter {unknown[0]!r} is unknown: there are {names}")
    return cls(**{p.name: _value(p, given.get(p.name, p.default)) for p in known})


def _parameter(name: str, hint: Any, default: Any) -> Parameter:
    parts = get_args(hint) if get_origin(hint) is Annotated else ()
    ranges = [part for part in parts[1:] if isinstance(part, Range)]
    if not ranges or parts[0] not in (int, float) or default is None:
        raise ConfigurationError(f"parameter {name!r} must be Annotated[int or float, Range(…)] with a default")
    return Parameter(name, parts[0], default, ranges[0])


def _value(parameter: Parameter, value: Any) -> int | float:
    allowed = f"from {parameter.range.low:g} to {parameter.range.high:g}"
    whole = "a whole number " if parameter.kind is int else "a number "
    wrong = ConfigurationError(f"parameter {parameter.name!r} is {value!r}: must be {whole}{allowed}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise wrong
    if parameter.kind is int and value != int(value):
        raise wrong
    if not parameter.range.low <= value <= parameter.range.high:
        raise wrong
    return parameter.kind(value)
