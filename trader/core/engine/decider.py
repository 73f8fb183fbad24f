"""The compiled call of a strategy's `decide`: one row of features and the position in, one wish out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trader.core.indicators import kernels
from trader.core.strategy.protocol import INCOMPLETE, PositionView, Strategy, Wish
from trader.core.types.bars import FloatArray
from trader.core.types.errors import KernelError


def decide_source(strategy: Strategy) -> str:
    """`decide(rows, positions, parameters, out)`: a wish for every row, INCOMPLETE where a feature is not finite."""
    row = ", ".join(f"rows[i, {at}]" for at in range(len(strategy.row._fields)))
    kinds = [parameter.kind for parameter in strategy.parameter_list()]
    bound = ", ".join(f"int(parameters[{at}])" if kind is int else f"parameters[{at}]" for at, kind in enumerate(kinds))
    return "\n".join(
        [
            "def decide(rows, positions, parameters, out):",
            f"    bound = leaf_3({bound})",
            "    for i in range(rows.shape[0]):",
            "        whole = 1",
            "        for k in range(rows.shape[1]):",
            "            if not rows[i, k] - rows[i, k] == 0.0:",
            "                whole = 0",
            "        if whole == 0:",
            "            out[i, 0] = 0.0",
            "            out[i, 1] = 0.0",
            f"            out[i, 2] = {INCOMPLETE}.0",
            "        else:",
            "            held = leaf_2(positions[i, 0], positions[i, 1], positions[i, 2])",
            f"            direction, strength, reason = leaf_0(leaf_1({row}), held, bound)",
            "            out[i, 0] = direction",
            "            out[i, 1] = strength",
            "            out[i, 2] = reason",
            "    return",
            "",
        ]
    )


class Decider:
    """A strategy's `decide` with its parameters bound, ready to be called."""

    def __init__(self, strategy: Strategy, parameters: FloatArray) -> None:
        self.strategy = strategy
        self._parameters = parameters
        self._position = np.zeros((1, len(PositionView._fields)), dtype=np.float64)
        self._out = np.empty((1, 3), dtype=np.float64)
        leaves: list[Callable[..., object]] = [strategy.decide, strategy.row, PositionView, strategy.parameters]
        block = "float64[:, ::1]"
        signature = f"void({block}, {block}, float64[::1], {block})"
        self._driver = kernels.kernel("decide", decide_source(strategy), leaves, signature)
        self.remarks = kernels.remarks_on(decide_source(strategy), leaves, signature)

    def one(self, rows: FloatArray, position: PositionView) -> Wish:
        """Ask for one row, shape (1, features). Raises KernelError for a wish that cannot be."""
        self._position[0] = position
        self._driver(rows, self._position, self._parameters, self._out)
        direction, strength, reason = self._out[0].tolist()
        if direction not in (-1.0, 0.0, 1.0) or not 0.0 <= strength <= 1.0:
            raise KernelError(
                f"strategy {self.strategy.name} wished direction {direction} with strength {strength}: "
                "must be -1, 0 or 1 and a strength from 0 to 1"
            )
        return Wish(int(direction), strength, int(reason))
