"""Faults on order: what this venue does wrong, for how long or how often. Set through the control address."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

FaultKind = Literal[
    "latency",
    "timeout_after",
    "ack_lost",
    "drop_before",
    "server_error",
    "busy",
    "forbidden",
    "clock_off",
    "silent_socket",
    "frames_dropped",
    "frames_duplicated",
    "frames_reordered",
    "cancels_rejected",
    "partial_fills",
    "crash",
]
Moment = Literal["request", "accepted", "answered", "fill"]


class FaultError(ValueError):
    """A fault that cannot be; the text names the field and what it may be."""


class Fault(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One fault. It ends after `seconds` (wall), after `count` uses, or when it is deleted.

    `path`: only requests whose path contains this (`order/create`); `method` GET or POST.
    `topic`: only frames whose topic begins with this. `socket`: public, private or both.
    `ms`: latency, and how long an unanswered request is held. `offset_s`: clock_off.
    `status`, `code`: server_error and busy. `share`: partial_fills, of what could trade (0 to 1).
    `moment`: of a crash. `skip`: how many uses pass before the first.
    """

    fault: FaultKind
    seconds: float | None = None
    count: int | None = None
    skip: int = 0
    path: str = ""
    method: str = ""
    topic: str = ""
    socket: Literal["public", "private", ""] = ""
    ms: float = 0.0
    offset_s: float = 0.0
    status: int = 500
    code: int = 0
    share: float = 0.5
    moment: Moment = "accepted"


class _Active:
    def __init__(self, fault: Fault, number: int) -> None:
        self.fault, self.number = fault, number
        self.used = 0
        self.ends_s = time.monotonic() + fault.seconds if fault.seconds is not None else None

    def lives(self) -> bool:
        fault = self.fault
        if fault.count is not None and self.used >= fault.count + fault.skip:
            return False
        return self.ends_s is None or time.monotonic() < self.ends_s

    def use(self) -> bool:
        """Count one use; False where this one is still to be passed over."""
        self.used += 1
        return self.used > self.fault.skip


class Faults:
    """The faults that are on."""

    def __init__(self, kill: Callable[[], None] | None = None) -> None:
        self._active: list[_Active] = []
        self._number = 0
        self._kill = kill or _kill_self
        self._held: dict[str, tuple[Any, Callable[[Any], None]]] = {}

    def add(self, body: bytes) -> int:
        """Switch a fault on from its JSON; return its number."""
        try:
            fault = msgspec.json.decode(body, type=Fault)
        except msgspec.MsgspecError as error:
            raise FaultError(str(error)) from None
        for name in ("seconds", "count"):
            value = getattr(fault, name)
            if value is not None and value <= 0:
                raise FaultError(f"{name} must be above 0 (it is {value})")
        if not 0 <= fault.share <= 1:
            raise FaultError(f"share must be from 0 to 1 (it is {fault.share})")
        self._number += 1
        self._active.append(_Active(fault, self._number))
        return self._number

    def clear(self) -> None:
        """End all faults; a frame held back for reordering leaves now."""
        self._active.clear()
        held, self._held = self._held, {}
        for frame, write in held.values():
            write(frame)

    @property
    def are_on(self) -> bool:
        """Whether any fault may be on."""
        return bool(self._active)

    def listed(self) -> list[dict[str, Any]]:
        """Return the faults that are on, with how often each was used."""
        self._prune()
        return [{"id": a.number, "used": a.used, **msgspec.to_builtins(a.fault)} for a in self._active]

    def for_request(self, kind: FaultKind, path: str, method: str) -> Fault | None:
        """Return the fault of this kind that hits this request now, and count it."""
        if not self._active:
            return None
        for active in self._living(kind):
            fault = active.fault
            if fault.path in path and fault.method in ("", method) and active.use():
                return fault
        return None

    def first(self, kind: FaultKind) -> Fault | None:
        """Return a fault of this kind that is on, counting its use."""
        for active in self._living(kind):
            if active.use():
                return active.fault
        return None

    def clock_off_ns(self) -> int:
        """Return how far the venue's wall clock is put off."""
        if not self._active:
            return 0
        return sum(int(active.fault.offset_s * 1e9) for active in self._living("clock_off"))

    def silent(self, socket: str) -> bool:
        """Return whether sockets of this sort (public, private) say nothing, pongs included."""
        return bool(self._active) and any(a.fault.socket in ("", socket) for a in self._living("silent_socket"))

    def frame_fate(self, topic: str) -> int:
        """Return how often a frame is to be written: 1, 0 (dropped) or 2 (duplicated)."""
        if not self._active:
            return 1
        for kind, times in (("frames_dropped", 0), ("frames_duplicated", 2)):
            for active in self._living(kind):
                if topic.startswith(active.fault.topic) and active.use():
                    return times
        return 1

    def frames_held(self, topic: str, frame: Any, write: Callable[[Any], None]) -> bool:
        """Return whether this frame's write is taken over: held back until the next of its topic has left."""
        if not self._active and not self._held:
            return False
        held = self._held.pop(topic, None)
        if held is not None:
            write(frame)
            held[1](held[0])
            return True
        if self._reorders(topic):
            self._held[topic] = (frame, write)
            return True
        return False

    def partial_share(self) -> float | None:
        """Return the share of an order that may trade at once while fills are partial, else None."""
        if not self._active:
            return None
        fault = self.first("partial_fills")
        return fault.share if fault is not None else None

    def crash(self, moment: Moment, path: str = "") -> None:
        """Die here and now, like a process that is killed, if a crash at this moment is on."""
        if not self._active:
            return
        for active in self._living("crash"):
            fault = active.fault
            if fault.moment == moment and fault.path in path and active.use():
                self._kill()

    def _reorders(self, topic: str) -> bool:
        return any(topic.startswith(a.fault.topic) and a.use() for a in self._living("frames_reordered"))

    def _living(self, kind: str) -> list[_Active]:
        self._prune()
        return [active for active in self._active if active.fault.fault == kind]

    def _prune(self) -> None:
        if any(not active.lives() for active in self._active):
            self._active = [active for active in self._active if active.lives()]


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
