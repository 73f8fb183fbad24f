"""The parts of one desk, put together."""

from dataclasses import dataclass, field
from datetime import datetime

from apps.execution.desk.adopt import Adopter
from apps.execution.desk.ask import Asker
from apps.execution.desk.breakers import Breakers
from apps.execution.desk.cancel import Canceller
from apps.execution.desk.clock import VenueClock
from apps.execution.desk.commands import Commands
from apps.execution.desk.core import DeskCore
from apps.execution.desk.decide import Decider
from apps.execution.desk.figures import Accounts
from apps.execution.desk.fills import Fills
from apps.execution.desk.flatten import Flattener
from apps.execution.desk.guard import Guard
from apps.execution.desk.health import Health
from apps.execution.desk.model import DeskOrder
from apps.execution.desk.reconcile import Reconciler
from apps.execution.desk.send import Sender
from apps.execution.desk.stops import Stops
from apps.execution.desk.sweep import Sweeper
from apps.execution.desk.track import Tracker
from apps.execution.desk.watch import Watch
from apps.execution.desk.writer import Writer
from apps.execution.states import OrderState


@dataclass
class Known:
    """Which state of the venue's instruments and of the account's keys the desk works with."""

    markets: tuple[int, int] = (0, 0)
    keys: datetime | None = None


@dataclass
class Parts:
    """Everything that works in a desk; each knows only what it needs."""

    core: DeskCore
    clock: VenueClock
    writer: Writer
    tracker: Tracker
    sender: Sender
    fills: Fills
    asker: Asker
    canceller: Canceller
    flattener: Flattener
    stops: Stops
    accounts: Accounts
    guard: Guard
    breakers: Breakers
    decider: Decider
    adopter: Adopter
    reconciler: Reconciler
    sweeper: Sweeper
    commands: Commands
    watch: Watch
    health: Health
    known: Known = field(default_factory=Known)


def parts_make(core: DeskCore) -> Parts:
    """Build the parts and tie them: fills move stops, ended stops are looked at, the unknown is asked for."""
    clock = VenueClock(core)
    writer = Writer(core)
    tracker = Tracker(core, writer)
    sender = Sender(core, writer, tracker, clock)
    fills = Fills(core, writer, tracker)
    asker = Asker(core, tracker, fills, clock)
    canceller = Canceller(core, tracker, clock)
    flattener = Flattener(core, sender, canceller)
    stops = Stops(core, sender, tracker, canceller)
    accounts = Accounts(core)
    guard = Guard(core, accounts)
    breakers = Breakers(core, accounts, guard, writer)
    decider = Decider(core, writer, tracker, sender, guard, accounts)
    adopter = Adopter(core)
    reconciler = Reconciler(core, writer, tracker, fills, asker, adopter)
    sweeper = Sweeper(core, writer, fills, canceller, flattener, asker, clock)
    commands = Commands(core, writer, tracker, sender, guard, canceller, flattener)
    watch = Watch(core, guard)
    health = Health(core, accounts, guard, watch, decider, tracker, stops, breakers, writer)
    core.ask_soon = asker.soon

    def judged(order: DeskOrder) -> None:
        """An open order adds risk now, or no more: its row follows, and an engaged switch looks at it at once."""
        if order.state is not OrderState.CREATED:  # that one's row is being written, with the flag as it is then
            writer.order(order)
        if order.adds_risk:
            sweeper.changed()

    core.books.on_judged = judged
    fills.on_position.append(stops.position_moved)
    tracker.on_final.append(stops.order_ended)
    return Parts(
        core, clock, writer, tracker, sender, fills, asker, canceller, flattener, stops, accounts, guard, breakers,
        decider, adopter, reconciler, sweeper, commands, watch, health,
    )  # fmt: skip
