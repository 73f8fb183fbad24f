"""A reversal: the entry on the other side once the exit has ended, or the reason why there is none."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from apps.execution.desk.core import DeskCore
from apps.execution.desk.deployed import Deployed
from apps.execution.desk.model import DeskDecision, DeskOrder, DeskSignal, plain
from apps.execution.desk.refusal import of_words
from apps.execution.desk.send import Sender
from apps.execution.desk.track import Tracker
from apps.execution.desk.writer import Writer
from apps.execution.origins import Blocker
from apps.risk.services import RefusalRow

log = structlog.get_logger(__name__)
WAIT_S = 10.0


@dataclass(slots=True)
class Turn:
    """A position that a signal closes, to enter the other side."""

    deployed: Deployed
    signal: DeskSignal
    exit: DeskOrder
    price: float


class Turner:
    """Sends second legs. `enter` makes the entry of a signal or its refusal, `of` says whom a refusal is about."""

    def __init__(
        self,
        core: DeskCore,
        writer: Writer,
        tracker: Tracker,
        sender: Sender,
        enter: Callable[[Deployed, DeskSignal, float], DeskOrder | RefusalRow],
        of: Callable[[Deployed, DeskDecision], dict[str, Any]],
    ) -> None:
        self._core = core
        self._writer = writer
        self._tracker = tracker
        self._sender = sender
        self._enter = enter
        self._of = of

    async def run(self, turn: Turn) -> None:
        """Enter the other side once the exit has ended, if the signal is still of use; else the signal says why not."""
        signal, decision = turn.signal, turn.signal.decision
        try:
            ended = await self._tracker.wait(turn.exit, lambda one: not one.is_open and not one.owes_fills, WAIT_S)
        except asyncio.CancelledError:
            self._not_turned(turn, "the desk stops")
            raise
        held = self._core.books.held(decision.instrument_id, turn.deployed.key)
        if not ended:
            self._not_turned(turn, f"the exit has not ended within {WAIT_S:.0f} s")
        elif not self._core.books.is_flat(decision.instrument_id, held):
            self._not_turned(turn, f"the exit has left {plain(held)}")
        elif self._tracker.is_past(signal):
            late = f"closed, not turned: the exit took longer than the horizon of {signal.horizon_s} s (market time)"
            log.warning("reversal not completed", why=late, decision_id=str(decision.id))
            self._tracker.signal_end(signal, "expired", detail=late)
        else:
            await self._second_leg(turn)

    async def _second_leg(self, turn: Turn) -> None:
        made = self._enter(turn.deployed, turn.signal, turn.price)
        if isinstance(made, RefusalRow):
            self._writer.refusal(made)
            detail = f"closed, not turned: {made.detail}"[:200]
            self._tracker.signal_end(turn.signal, "refused", made.check_name, detail)
            return
        made.parent_id = turn.exit.id
        # the exit's end was taken for the signal's: it goes on with its second leg
        self._tracker.signals[turn.signal.id] = turn.signal
        self._core.books.order_add(made)
        await self._sender.send([made])

    def _not_turned(self, turn: Turn, why: str) -> None:
        decision, words = turn.signal.decision, f"closed, not turned: {why}"
        log.warning("reversal not completed", why=why, decision_id=str(decision.id))
        self._writer.refusal(of_words(Blocker.REVERSAL, words, **self._of(turn.deployed, decision)))
        self._tracker.signal_end(turn.signal, "refused", str(Blocker.REVERSAL), words)
