"""Windows in the arena: mirrored rings, so that a window is always one contiguous slice, oldest first."""

from typing import Any

from trader.core.indicators.definition import leaf


@leaf
def push(arena: Any, rings: Any, values: Any, index: int, count: int) -> None:
    """Store a value into its history, twice, a ring's length apart; nothing for a value without one."""
    length = rings[index, 1]
    if length > 0:
        at = rings[index, 0] + count % length
        arena[at] = values[index]
        arena[at + length] = values[index]
