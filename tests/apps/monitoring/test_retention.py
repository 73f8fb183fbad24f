"""Every table has a stated keeping time, and the nightly task keeps to it: no more, no less."""

import uuid
from datetime import timedelta
from decimal import Decimal

import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone

from apps.common.models import AuditEntry, Job, JobLog, JobShare
from apps.execution.models import DeskCommand, Reconciliation
from apps.market.models import Epoch, Instrument, Venue
from apps.monitoring.retention import PARTITIONED, RULES, page_lines, retention_enforce
from apps.monitoring.services import retention_nightly
from apps.portfolio.models import Account, EquitySnapshot
from apps.risk.models import Halt
from apps.strategies.models import Decision, Deployment, Signal
from trader.config import config
from trader.config.schema import ROOT

TABLES = "select tablename from pg_tables where schemaname = 'public'"
PARTS = "select inhrelid::regclass::text from pg_inherits"


@pytest.fixture
def account(db):
    venue = Venue.objects.create(code="v", name="V", is_simulated=True)
    epoch = Epoch.objects.create(venue=venue, number=1, kind=Epoch.Kind.SYNTHETIC)
    return Account.objects.create(venue=venue, epoch=epoch, name="a")


@pytest.fixture
def instrument(account):
    return Instrument.objects.create(
        venue=account.venue, symbol="BTC/USDT", venue_symbol="BTCUSDT", kind="spot", base="BTC", quote="USDT"
    )


def aged(row, field, days):
    """Make a row older than its own `auto_now_add` lets it be."""
    type(row).objects.filter(pk=row.pk).update(**{field: timezone.now() - timedelta(days=days)})
    return row


def models_split():
    """Return the project's models, and those that other tests of this run have made."""
    every = apps.get_models(include_auto_created=True)
    made = [model for model in every if model.__module__.startswith("tests.")]
    return [model for model in every if model not in made], made


def test_every_model_has_a_rule_and_every_rule_a_model():
    models = {model._meta.label for model in models_split()[0]}
    stated = [rule.model for rule in RULES]
    assert sorted(models) == sorted(stated)
    assert all(rule.words for rule in RULES)


@pytest.mark.django_db
def test_every_table_of_the_database_is_a_models_or_is_stated():
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        found = {row[0] for row in cursor.fetchall()}
        cursor.execute(PARTS)
        found -= {row[0] for row in cursor.fetchall()}
    ours, made = models_split()
    found -= {model._meta.db_table for model in made}
    assert found == {model._meta.db_table for model in ours} | set(PARTITIONED)


def test_the_reference_page_says_the_same():
    page = (ROOT / "docs" / "reference" / "retention.md").read_text()
    assert page == "\n".join(page_lines()) + "\n", "run `python manage.py retention --page`"


@pytest.mark.django_db
def test_old_holds_go_and_what_an_order_could_point_to_stays(account, instrument):
    deployment = Deployment.objects.create(key="d", strategy="s", code_hash="h", universe_name="u", account=account)
    old = config.retention.holds_days + 1

    def decision(outcome, days):
        made = Decision.objects.create(
            id=uuid.uuid4(), deployment=deployment, instrument=instrument, market_at=timezone.now(), reason="r",
            bar_open=timezone.now() - timedelta(minutes=Decision.objects.count()), outcome=outcome,
        )  # fmt: skip
        return aged(made, "created_at", days)

    gone = [decision("hold", old) for _ in range(3)] + [decision("late", old)]
    kept = [decision("hold", old - 2), decision("signal", old)]
    Signal.objects.create(
        decision=kept[1], deployment=deployment, instrument=instrument, direction=1, strength=1, horizon_s=60,
        reason="r", market_at=timezone.now(),
    )  # fmt: skip
    assert retention_nightly() == {"strategies.Decision": len(gone)}
    assert set(Decision.objects.values_list("pk", flat=True)) == {row.pk for row in kept}
    assert retention_enforce() == {}


@pytest.mark.django_db
def test_a_finished_job_goes_with_its_shares_and_log_and_a_running_one_stays():
    old = timezone.now() - timedelta(days=config.retention.jobs_days + 1)
    done = Job.objects.create(kind="k", title="done", finished_at=old)
    runs = Job.objects.create(kind="k", title="runs")
    aged(runs, "created_at", 999)
    for job in (done, runs):
        JobShare.objects.create(job=job, number=1)
        JobLog.objects.create(job=job, text="line")
    assert retention_enforce() == {"common.Job": 1}
    assert [job.pk for job in Job.objects.all()] == [runs.pk]
    assert JobShare.objects.count() == JobLog.objects.count() == 1


@pytest.mark.django_db
def test_what_tells_of_a_difference_an_open_halt_or_a_waiting_command_stays(account):
    long_ago = config.retention.history_days + 1
    for differences, is_startup in (([], False), ([{"what": "a fill"}], False), ([], True)):
        aged(
            Reconciliation.objects.create(account=account, took_ms=1, differences=differences, is_startup=is_startup),
            "at", long_ago,
        )  # fmt: skip
    open_halt = aged(Halt.objects.create(account=account, cause="loss", market_at=timezone.now()), "created_at", 9999)
    ended = Halt.objects.create(account=account, cause="feed", market_at=timezone.now())
    aged(ended, "ended_at", long_ago)
    for state in ("new", "done"):
        aged(DeskCommand.objects.create(account=account, kind="order", nonce=state, state=state, by="x"),
             "created_at", long_ago)  # fmt: skip
    assert retention_enforce() == {"execution.Reconciliation": 1, "risk.Halt": 1, "execution.DeskCommand": 1}
    assert list(Halt.objects.all()) == [open_halt]
    assert DeskCommand.objects.get().state == "new"


@pytest.mark.django_db
def test_more_rows_than_one_batch_all_go(account):
    now = timezone.now()
    old = now - timedelta(days=config.retention.history_days + 1)
    EquitySnapshot.objects.bulk_create(
        EquitySnapshot(account=account, market_at=now + timedelta(minutes=n), wall_at=old, equity=Decimal(1))
        for n in range(1203)
    )
    assert retention_enforce() == {"portfolio.EquitySnapshot": 1203}


@pytest.mark.django_db
def test_the_audit_is_never_touched():
    AuditEntry.objects.create(actor="a", action="b", target="c")
    assert retention_enforce() == {}
    assert AuditEntry.objects.count() == 1
