"""A set of features laid out: what is computed in which order, and where everything lies in the arena."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trader.core.indicators import kernels, sources
from trader.core.indicators.definition import Scalar
from trader.core.indicators.generate import (
    INPUTS,
    KIND,
    MEMORY,
    MEMORY_LENGTH,
    MOST_INPUTS,
    OUTPUT,
    PARAMETERS,
    RING,
    RING_LENGTH,
    STATE,
    TABLE_WIDTH,
    WINDOW,
    machine_source,
)
from trader.core.indicators.step import Feature, Step
from trader.core.types.bars import COLUMNS, FloatArray, IntArray
from trader.core.types.errors import KernelError

Work = tuple[Step, tuple[str, ...], tuple[Scalar, ...]]


@dataclass
class Plan:
    """Features by name, laid out for the live table. One arena per instrument holds all that is remembered.

    A value is a column of the bar or an output of a step; every value that some window looks at has
    one history, as long as the longest of them.
    """

    features: Mapping[str, Feature]
    columns: Sequence[str] = COLUMNS
    kinds: list[Step] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    value_of: dict[str, int] = field(default_factory=dict)
    first_output: dict[Work, int] = field(default_factory=dict)
    values: int = 0
    arena_length: int = 1

    def __post_init__(self) -> None:
        self.value_of = {name: index for index, name in enumerate(self.columns)}
        self.values = len(self.columns)
        for name, feature in self.features.items():
            self._feature_add(name, feature)
        self.rings = self._rings_laid()
        self.table, self.parameters, self.start = self._table_laid()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.features)

    @property
    def outputs(self) -> IntArray:
        """Where each feature's value lies among the values."""
        return np.array([self.value_of[name] for name in self.features], dtype=np.int64)

    @property
    def definition_hash(self) -> str:
        """Hash of what is computed and of every source it reaches: a snapshot fits only its own."""
        laid = f"{self.table.tolist()} {self.parameters.tolist()} {self.rings.tolist()} {self.outputs.tolist()}"
        names = ",".join(kind.name for kind in self.kinds)
        return sources.sources_hash([kind.function for kind in self.kinds], laid, names, ",".join(self.columns))

    def arena_new(self) -> FloatArray:
        """The state of one instrument before its first bar: histories hold NaN."""
        return self.start.copy()

    def _feature_add(self, name: str, feature: Feature) -> None:
        if name in self.value_of:
            raise KernelError(f"feature {name!r} has the name of a column or of an earlier feature")
        if len(feature.inputs) > MOST_INPUTS:
            raise KernelError(f"feature {name!r} has {len(feature.inputs)} inputs; at most {MOST_INPUTS} are possible")
        for source in feature.inputs:
            if source not in self.value_of:
                raise KernelError(f"feature {name!r} reads {source!r}: neither a column nor declared before it")
        work = feature.same_work
        if work not in self.first_output:
            self.first_output[work] = self.values
            self.values += len(feature.step.outputs)
            self.works.append(work)
            if feature.step not in self.kinds:
                self.kinds.append(feature.step)
        self.value_of[name] = self.first_output[work] + feature.output_index

    def _rings_laid(self) -> IntArray:
        rings = np.zeros((self.values, 2), dtype=np.int64)
        for step, inputs, bound in self.works:
            if step.window:
                value = self.value_of[inputs[step.inputs.index(step.window[0])]]
                rings[value, 1] = max(rings[value, 1], step.window_length(bound))
        for value in range(self.values):
            rings[value, 0] = self._taken(2 * int(rings[value, 1]))
        return rings

    def _table_laid(self) -> tuple[IntArray, FloatArray, FloatArray]:
        table = np.zeros((len(self.works), TABLE_WIDTH), dtype=np.int64)
        parameters: list[float] = []
        states: list[tuple[int, tuple[Scalar, ...]]] = []
        for row, (step, inputs, bound) in zip(table, self.works, strict=True):
            row[KIND] = self.kinds.index(step)
            row[STATE] = self._taken(len(step.state))
            states.append((int(row[STATE]), step.state))
            row[MEMORY_LENGTH] = step.memory_length(bound)
            row[MEMORY] = self._taken(int(row[MEMORY_LENGTH]))
            row[PARAMETERS] = len(parameters)
            parameters += [float(value) for value in bound]
            row[OUTPUT] = self.first_output[step, inputs, bound]
            row[INPUTS : INPUTS + len(inputs)] = [self.value_of[name] for name in inputs]
            if step.window:
                value = self.value_of[inputs[step.inputs.index(step.window[0])]]
                row[RING], row[RING_LENGTH] = self.rings[value]
                row[WINDOW] = step.window_length(bound)
        start = np.full(self.arena_length, np.nan)
        start[0] = 0.0
        for at, scalars in states:
            start[at : at + len(scalars)] = scalars
        return table, np.array([*parameters, 0.0]), start

    def _taken(self, length: int) -> int:
        at = self.arena_length
        self.arena_length += length
        return at


def machine_signature() -> str:
    """Types of the live table's driver: the same for every plan."""
    block, line = "float64[:, ::1]", "float64[::1]"
    return f"void({block}, {line}, int64[:, ::1], int64[:, ::1], {line}, {line}, {block}, int64[::1])"


def machine_kernel(plan: Plan) -> kernels.Kernel:
    """The live driver of a plan's kinds of steps, compiled once per set of kinds."""
    return kernels.kernel("run", *_machine_parts(plan))


def machine_remarks(plan: Plan) -> list[str]:
    """Why the live driver runs as plain Python; empty where it is compiled."""
    return kernels.remarks_on(*_machine_parts(plan))


def _machine_parts(plan: Plan) -> tuple[str, list[Callable[..., Any]], str]:
    return machine_source(plan.kinds), [kind.function for kind in plan.kinds], machine_signature()
