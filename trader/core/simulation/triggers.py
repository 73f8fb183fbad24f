"""Conditional orders of one instrument: who wakes when a price is reached."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

RISING = 1
FALLING = 2


@dataclass(slots=True, frozen=True)
class Trigger:
    """Wakes order `number` when the price rises (RISING) or falls (FALLING) to `price` ticks."""

    number: int
    price: int
    direction: int


class TriggerBook:
    """The triggers of one instrument and one kind of price (last, mark, index)."""

    def __init__(self) -> None:
        self._rising: list[Trigger] = []  # lowest first
        self._falling: list[Trigger] = []  # highest first

    def add(self, trigger: Trigger) -> None:
        """Wait for a price."""
        if trigger.direction == RISING:
            insort(self._rising, trigger, key=lambda t: (t.price, t.number))
        else:
            insort(self._falling, trigger, key=lambda t: (-t.price, t.number))

    def remove(self, trigger: Trigger) -> None:
        """Wait no more; unknown ones are passed over."""
        waiting = self._rising if trigger.direction == RISING else self._falling
        if trigger in waiting:
            waiting.remove(trigger)

    def fired(self, price: int) -> list[int]:
        """Return the orders that `price` wakes, older first, and forget them."""
        awake: list[Trigger] = []
        while self._rising and self._rising[0].price <= price:
            awake.append(self._rising.pop(0))
        while self._falling and self._falling[0].price >= price:
            awake.append(self._falling.pop(0))
        return sorted(trigger.number for trigger in awake)
