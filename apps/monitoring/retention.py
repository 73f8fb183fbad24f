"""How long every table keeps its rows: stated once here, enforced every night, written to docs/reference/retention.md.

Days count from the wall clock's time of a row: a replay makes months of market time in an hour.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Any

from django.apps import apps
from django.db.models import Model, Q, QuerySet
from django.utils import timezone

from trader.config import config

BATCH = 500


@dataclass(frozen=True)
class Rule:
    """How long the rows of a model stay. Without `since` nothing of it is deleted here, and `words` say why."""

    model: str
    words: str
    since: str = ""  # the time that the days are counted from
    setting: str = ""  # days, in the section `retention`
    only: Q = field(default_factory=Q)

    @property
    def days(self) -> int:
        """Return the days that rows stay."""
        return int(getattr(config.retention, self.setting))


BOOKS = "For ever: the books."
CONFIGURED = "Until a person removes it: configuration, a few rows."
STATE = "One row for each thing there is; overwritten."
SHIPPED = "Made with the schema; a few rows."
HISTORY = {"setting": "history_days"}

RULES = (
    # the books, and what explains them
    Rule("portfolio.Account", BOOKS),
    Rule("portfolio.Position", "One row for each owner and instrument; overwritten: the books."),
    Rule("portfolio.CashBalance", "One row for each currency; overwritten: the books."),
    Rule("portfolio.CashMovement", BOOKS),
    Rule("execution.Order", BOOKS),
    Rule("execution.Fill", BOOKS),
    Rule("strategies.Signal", "For ever, with its decision: orders point to it."),
    Rule("strategies.Deployment", "For ever: signals, decisions and sub-ledgers name it."),
    Rule("common.AuditEntry", "For ever: append-only, a trigger refuses deletion."),
    Rule("strategies.Decision", "Those with a signal for ever; the others", "created_at", "holds_days",
         ~Q(outcome="signal") & Q(signal=None)),
    # history
    Rule("risk.Refusal", "Each", "created_at", **HISTORY),
    Rule("risk.Halt", "Open ones stay; ended ones", "ended_at", **HISTORY),
    Rule("portfolio.EquitySnapshot", "Each", "wall_at", **HISTORY),
    Rule("execution.Session", "Each, once ended", "ended_at", **HISTORY),
    Rule("execution.KillSweep", "Each, once finished", "finished_at", **HISTORY),
    Rule("execution.DeskCommand", "Each, once done, refused or failed", "created_at",
         only=Q(state__in=["done", "refused", "failed"]), **HISTORY),
    Rule("execution.Reconciliation", "Those that found a difference, or began a session, for ever; the others", "at",
         "reconciliations_days", Q(differences=[], is_startup=False)),
    Rule("common.Checkpoint", "The newest of each resident, unless nobody has written it for long", "saved_at",
         **HISTORY),
    Rule("admin.LogEntry", "Each; the audit has it for ever", "action_time", **HISTORY),
    # work
    Rule("common.Job", "Each, once finished", "finished_at", "jobs_days"),
    Rule("common.JobShare", "With its job."),
    Rule("common.JobLog", "With its job."),
    Rule("common.Outbox", "`bus.outbox_days`, by `common.outbox_prune`."),
    # people
    Rule("users.User", "Until a person removes it."),
    Rule("users.LoginToken", "Each, past its end", "expires_at", "sign_ins_days"),
    Rule("users.ApiToken", "Each, past its end", "expires_at", "sign_ins_days"),
    Rule("users.User_groups", CONFIGURED),
    Rule("users.User_user_permissions", CONFIGURED),
    Rule("sessions.Session", "Each, past its end", "expire_date", "sign_ins_days"),
    Rule("axes.AccessAttempt", "Each", "attempt_time", "sign_ins_days"),
    Rule("axes.AccessAttemptExpiration", "With its attempt."),
    Rule("axes.AccessFailureLog", "Each", "attempt_time", "sign_ins_days"),
    Rule("axes.AccessLog", "Each", "attempt_time", "sign_ins_days"),
    # one row for each thing
    Rule("common.Lease", "For ever: its fence only grows."),
    Rule("common.TopicSequence", "For ever: its number only grows."),
    Rule("risk.KillRecord", "For ever: its generation only grows."),
    Rule("execution.Install", "For ever: one row."),
    Rule("market.Epoch", "For ever: orders and bars name it."),
    Rule("market.Instrument", "For ever: orders and bars name it."),
    Rule("market.InstrumentTerms", "For ever: what tick and lot were when an order was made."),
    Rule("portfolio.Credential", STATE),
    Rule("market.Venue", CONFIGURED),
    Rule("market.Universe", CONFIGURED),
    Rule("market.Universe_members", CONFIGURED),
    Rule("risk.Limit", CONFIGURED),
    Rule("auth.Group", CONFIGURED),
    Rule("auth.Group_permissions", CONFIGURED),
    Rule("auth.Permission", SHIPPED),
    Rule("contenttypes.ContentType", SHIPPED),
    *(
        Rule(f"django_celery_beat.{name}", "The schedule; a few rows, overwritten.")
        for name in ("SolarSchedule", "IntervalSchedule", "ClockedSchedule", "CrontabSchedule", "PeriodicTasks",
                     "PeriodicTask")
    ),
)  # fmt: skip

# tables without a model: partitioned by market time, written by COPY
PARTITIONED = {
    "market_bar_day": "Bars of a minute and finer: `market.keep_seconds_days`, `market.keep_minutes_days`, from the "
    "newest market time of their epoch. Nothing is dropped before a lake owns it.",
    "market_bar_month": "Bars of more than a minute and less than a day: for ever.",
    "market_bar_year": "Bars of a day and coarser: for ever.",
    "market_print_day": "Prints: `market.keep_prints_days`. Nothing is dropped before a lake owns it.",
    "django_migrations": SHIPPED,
}


def retention_enforce() -> dict[str, int]:
    """Delete every row past its time, a few hundred in a transaction; return how many of which model."""
    return {rule.model: removed for rule in RULES if rule.since and (removed := _enforce(rule))}


def rows_due(rule: Rule) -> QuerySet[Any]:
    """Return the rows of a rule that are past their time."""
    model: type[Model] = apps.get_model(rule.model)
    before = timezone.now() - timedelta(days=rule.days)
    return model._default_manager.filter(rule.only, **{f"{rule.since}__lt": before})


def _enforce(rule: Rule) -> int:
    due, removed = rows_due(rule), 0
    # one look at the table, and short transactions: nobody else waits for a lock of ours
    keys = due.order_by().values_list("pk", flat=True).iterator(chunk_size=10_000)
    while batch := list(islice(keys, BATCH)):
        _, by_model = due.model._default_manager.filter(pk__in=batch).delete()
        removed += by_model.get(due.model._meta.label, 0)
    return removed


def page_lines() -> Iterator[str]:
    """Yield the lines of the reference page."""
    yield "# How long rows are kept"
    yield ""
    yield "Every table, and how long its rows stay. A task enforces it every night at 03:40 UTC, as"
    yield "`manage.py retention --now` does; without `--now` it only says how many rows are past their time."
    yield "Days count from the wall clock. Settings are in [the reference](settings.md#retention)."
    yield "This page is written by `manage.py retention --page` from `apps/monitoring/retention.py`."
    yield ""
    yield "| table | rows stay |"
    yield "|---|---|"
    for rule in sorted(RULES, key=lambda rule: apps.get_model(rule.model)._meta.db_table):
        table = apps.get_model(rule.model)._meta.db_table
        yield f"| `{table}` | {rule.words}{f': `retention.{rule.setting}`' if rule.since else ''} |"
    for table, words in sorted(PARTITIONED.items()):
        yield f"| `{table}` | {words} |"
