"""Features at work for several instruments: one table, one compiled function, one arena for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trader.core.indicators.drivers import batch_run, float_array
from trader.core.indicators.plan import Plan, machine_kernel
from trader.core.types.bars import FloatArray
from trader.core.types.errors import KernelError, StateError


class Machine:
    """A plan's features for `instruments` instruments, each with its own arena.

    `step` takes one bar, `run` many; both call the same compiled function, so they agree to the bit.
    """

    def __init__(self, plan: Plan, instruments: int) -> None:
        self.plan = plan
        self._arenas = [plan.arena_new() for _ in range(instruments)]
        self._values = np.full(plan.values, np.nan)
        self._row = np.empty((1, len(plan.columns)), dtype=np.float64)
        self._out = np.empty((1, len(plan.names)), dtype=np.float64)
        self._outputs = plan.outputs
        self._driver = machine_kernel(plan)

    def step(self, instrument: int, row: Sequence[float]) -> FloatArray:
        """Take one closed bar of an instrument; its features, in a buffer that the next call overwrites."""
        self._row[0, :] = row
        self._run(instrument, self._row, self._out)
        features: FloatArray = self._out[0]
        return features

    def run(self, instrument: int, rows: Any) -> FloatArray:
        """Take many closed bars, shape (n, columns), in order; features of shape (n, features)."""
        block = float_array(rows, "rows of bars", dimensions=2)
        if block.shape[1] != len(self.plan.columns):
            raise KernelError(f"rows have {block.shape[1]} columns; expected {', '.join(self.plan.columns)}")
        out = np.empty((len(block), len(self.plan.names)), dtype=np.float64)
        self._run(instrument, block, out)
        return out

    def bars_taken(self, instrument: int) -> int:
        """How many bars an instrument has taken since its anchor."""
        return int(self._arenas[instrument][0])

    def reset(self, instrument: int) -> None:
        """Forget everything of one instrument: before a warm-up from the anchor."""
        self._arenas[instrument][:] = self.plan.start

    def snapshot(self, instrument: int) -> bytes:
        """The whole state of one instrument."""
        return self._arenas[instrument].tobytes()

    def restore(self, instrument: int, body: bytes) -> None:
        """Take up a snapshot. Raises StateError when its size is not this plan's."""
        arena = self._arenas[instrument]
        if len(body) != arena.nbytes:
            raise StateError(f"snapshot of {len(body)} bytes does not fit an arena of {arena.nbytes}")
        arena[:] = np.frombuffer(body, dtype=np.float64)

    def _run(self, instrument: int, rows: FloatArray, out: FloatArray) -> None:
        plan = self.plan
        self._driver(
            rows, self._arenas[instrument], plan.table, plan.rings, plan.parameters, self._values, out, self._outputs
        )


def features_batch(plan: Plan, rows: Any) -> FloatArray:
    """All features of a plan over many bars, step by step, each in its own compiled loop; shape (n, features).

    Equal to the bit to a `Machine` fed the same bars, and faster for long histories.
    """
    block = float_array(rows, "rows of bars", dimensions=2)
    values: dict[int, FloatArray] = {index: np.ascontiguousarray(block[:, index]) for index in range(len(plan.columns))}
    for step, inputs, bound in plan.works:
        computed = batch_run(step, [values[plan.value_of[name]] for name in inputs], bound)
        outputs = computed if isinstance(computed, tuple) else (computed,)
        values.update({plan.first_output[step, inputs, bound] + at: column for at, column in enumerate(outputs)})
    out = np.empty((len(block), len(plan.names)), dtype=np.float64)
    for at, name in enumerate(plan.names):
        out[:, at] = values[plan.value_of[name]]
    return out
