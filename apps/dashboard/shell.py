"""What the shell shows on every page: mode, chips, clock, kill switch, rail."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.urls import reverse

from apps.common.models import Job
from apps.dashboard import chips, kill
from apps.dashboard import formatting as f
from apps.dashboard.states import States, states_last
from apps.portfolio.models import Account
from apps.risk.models import Halt


@dataclass(frozen=True)
class RailItem:
    """One page of the rail. `letter` follows g on the keyboard; `wide_only` hides behind "more" on a phone."""

    key: str
    label: str
    icon: str
    letter: str
    view: str
    wide_only: bool = False

    @property
    def url(self) -> str:
        """Return the page's address."""
        return reverse(self.view)


RAIL = (
    RailItem("desk", "Desk", "space_dashboard", "d", "dashboard:desk"),
    RailItem("market", "Market", "candlestick_chart", "m", "dashboard:market-first"),
    RailItem("scanner", "Scanner", "radar", "s", "scanners:index", True),
    RailItem("models", "Models", "psychology", "l", "learning:index", True),
    RailItem("strategies", "Strategies", "function", "t", "strategies:index"),
    RailItem("backtests", "Backtests", "history", "b", "backtesting:index", True),
    RailItem("risk", "Risk", "shield", "r", "risk:index"),
    RailItem("data", "Data", "database", "a", "market:data", True),
    RailItem("annotate", "Annotate", "edit_note", "n", "annotations:index", True),
    RailItem("operations", "Operations", "monitor_heart", "o", "monitoring:index", True),
)
SOCKET = "/ws/"


def accounts_current() -> list[Account]:
    """Return the accounts that desks run now: active, and of their venue's current epoch."""
    halts = Halt.objects.filter(account=OuterRef("pk"), ended_at=None)
    found = Account.objects.filter(Q(is_active=True) & (Q(epoch__is_current=True) | Q(is_live=True)))
    accounts = list(found.select_related("venue", "epoch").annotate(is_halted=Exists(halts)))
    for account in accounts:
        account.scope_key = str(account.pk)  # type: ignore[attr-defined]
    return accounts


class Shell:
    """The shell of one request. Everything is read when a template first asks, and once."""

    rail = RAIL

    def __init__(self, account_id: int | None = None) -> None:
        self._wanted = account_id

    @cached_property
    def accounts(self) -> list[Account]:
        """Return the accounts that desks run now."""
        return accounts_current()

    @cached_property
    def account(self) -> Account | None:
        """Return the account asked for, else the first."""
        chosen = [account for account in self.accounts if account.pk == self._wanted]
        return next(iter(chosen or self.accounts), None)

    @cached_property
    def venues(self) -> list[str]:
        """Return the codes of the venues of these accounts."""
        return sorted({account.venue.code for account in self.accounts})

    @cached_property
    def states(self) -> States:
        """Return the newest states that the shell shows."""
        topics = [f"{prefix}.{venue}" for venue in self.venues for prefix in ("health.feed", "clock")]
        topics += [f"{prefix}.{account.pk}" for account in self.accounts for prefix in ("health.desk", "account")]
        return states_last(topics)

    @cached_property
    def kill(self) -> kill.KillView:
        """Return what the kill switch's records say together."""
        return kill.kill_view()

    @property
    def is_live(self) -> bool:
        """Say whether real money is at stake in any of the accounts."""
        return any(account.is_live for account in self.accounts)

    @property
    def mode(self) -> str:
        """Return LIVE or SIMULATED."""
        return "LIVE" if self.is_live else "SIMULATED"

    @cached_property
    def chips(self) -> list[chips.Chip]:
        """Return the strip's chips."""
        key = self.account.pk if self.account else 0
        feeds = [self.states.get(f"health.feed.{venue}") for venue in self.venues]
        halted = any(account.is_halted for account in self.accounts)
        return [
            chips.feed_chip(feeds, self._clock()),
            chips.desk_chip(self.states.get(f"health.desk.{key}")),
            chips.risk_chip(
                self.states.get(f"account.{key}"),
                engaged=bool(self.kill.items),
                unclear=bool(self.kill.unclear),
                halted=halted,
            ),
            chips.jobs_chip(Job.objects.filter(state=Job.State.RUNNING).count()),
        ]

    @property
    def clock_text(self) -> str:
        """Return the market's clock in UTC; the page's script goes on from there, in the person's zone."""
        clock = self._clock()
        at = f.moment(clock["market_ns"]) if clock else None
        if clock is None or at is None:
            return "no market clock yet"
        pace = "" if clock["mode"] == "real" else f" · {clock['mode']} {f.plain(clock['speed'], 1)}×"
        return f"{at:%Y-%m-%d %H:%M:%S} UTC{' · replay ended' if clock['ended'] else pace}"

    @property
    def live(self) -> dict[str, Any]:
        """Return what the shell's script needs to go on live."""
        return {
            "socket": SOCKET,
            "accounts": [account.pk for account in self.accounts],
            "account": self.account.pk if self.account else None,
            "venues": self.venues,
            "states": self.states,
            "killed": bool(self.kill.items),
            "unclear": bool(self.kill.unclear),
            "halted": any(account.is_halted for account in self.accounts),
        }

    def _clock(self) -> dict[str, Any] | None:
        venue = self.account.venue.code if self.account else ""
        return self.states.get(f"clock.{venue}")
