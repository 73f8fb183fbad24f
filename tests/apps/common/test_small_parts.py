"""Clocks, checkpoints, audit, encrypted fields, enqueueing, the schedule and the outbox's keeping time."""

import asyncio
import os
import stat
import time
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, models, transaction
from django.utils import timezone

from apps.common.audit import audit_of, audit_write
from apps.common.checkpoints import (
    CheckpointToSave,
    checkpoint_load,
    checkpoint_load_async,
    checkpoint_save,
    checkpoints_save_async,
)
from apps.common.clocks import ClockWatch, boottime_ns, wall_ns
from apps.common.database import async_pool
from apps.common.enqueue import enqueue_on_commit
from apps.common.errors import SecretUnreadable
from apps.common.fields import (
    EncryptedTextField,
    secret_decrypt,
    secret_encrypt,
    secret_keys_forget,
    secret_keys_rotate,
)
from apps.common.models import AuditEntry, Outbox
from apps.common.outbox import outbox_add, outbox_read
from apps.common.services import outbox_prune
from celery_worker.schedule import schedule_collect
from tests.apps.common.samples import Note

MS = 1_000_000

# Clocks


def test_boottime_goes_on_and_wall_time_is_utc():
    first = boottime_ns()
    assert boottime_ns() > first
    assert abs(wall_ns() - time.time_ns()) < 1e9


def test_an_unmeasured_clock_blocks_new_risk_and_says_so():
    watch = ClockWatch()
    assert not watch.adds_risk_allowed("bybit-sim")
    assert "has not been measured" in watch.why_blocked("bybit-sim")
    assert watch.offset_ms("bybit-sim") is None


@pytest.mark.parametrize(
    ("offset_ms", "is_allowed"), [(0, True), (499, True), (-499, True), (501, False), (-501, False)]
)
def test_half_a_second_off_is_the_line(offset_ms, is_allowed):
    watch, sent = ClockWatch(), wall_ns()
    watch.record("v", sent + 20 * MS + offset_ms * MS, sent, sent + 40 * MS)
    assert watch.offset_ms("v") == pytest.approx(offset_ms)
    assert watch.adds_risk_allowed("v") is is_allowed


def test_the_reason_names_the_side_and_the_limit():
    watch, sent = ClockWatch(), wall_ns()
    watch.record("v", sent - 2_000 * MS, sent, sent)
    assert watch.why_blocked("v") == "the clock of v is 2000 ms behind ours; the limit is 500 ms"


def test_the_quickest_answer_counts():
    watch, sent = ClockWatch(), wall_ns()
    watch.record("v", sent + 900 * MS, sent, sent + 1_000 * MS)
    watch.record("v", sent + 5 * MS, sent, sent + 10 * MS)
    assert watch.offset_ms("v") == pytest.approx(0)


def test_an_old_measurement_is_no_measurement():
    watch, sent = ClockWatch(valid_s=0), wall_ns()
    watch.record("v", sent, sent, sent)
    assert not watch.adds_risk_allowed("v")


async def test_a_venue_is_asked_for_its_time():
    async def fetch():
        await asyncio.sleep(0.01)
        return wall_ns() + 700 * MS

    watch = ClockWatch()
    sample = await watch.measure("v", fetch)
    assert sample.round_trip_ms >= 10
    assert not watch.adds_risk_allowed("v")


# Checkpoints


@pytest.mark.django_db(transaction=True)
def test_a_checkpoint_comes_back_for_its_version_only():
    assert checkpoint_load("desk", "1", 2) is None
    assert checkpoint_save("desk", "1", 2, b"state", "v1")
    assert checkpoint_load("desk", "1", 2).body == b"state"
    assert checkpoint_load("desk", "1", 2, version="v1").version == "v1"
    assert checkpoint_load("desk", "1", 2, version="v2") is None
    assert checkpoint_load("desk", "1", 3) is None


@pytest.mark.django_db(transaction=True)
def test_an_old_holder_does_not_overwrite_its_successors_checkpoint():
    assert checkpoint_save("desk", "1", 0, b"new", "v1", fence=5)
    assert not checkpoint_save("desk", "1", 0, b"old", "v1", fence=4)
    assert checkpoint_load("desk", "1", 0).body == b"new"


@pytest.mark.django_db(transaction=True)
async def test_checkpoints_are_saved_in_one_statement_from_asyncio_code():
    pool = async_pool(1, 1)
    await pool.open()
    many = [CheckpointToSave("desk", str(key), 0, bytes([key]), "v") for key in range(5)]
    assert await checkpoints_save_async(pool, many, fence=1) == 5
    assert await checkpoints_save_async(pool, []) == 0
    assert (await checkpoint_load_async(pool, "desk", "3", 0)).body == b"\x03"
    assert await checkpoint_load_async(pool, "desk", "3", 0, version="other") is None
    await pool.close()


# Audit


@pytest.mark.django_db
def test_the_audit_trail_tells_who_did_what_and_why():
    audit_write("captain", "limit set", "account:1", {"n": 1}, {"n": 2}, "less risk", address="127.0.0.1")
    (entry,) = audit_of("account:1")
    assert (entry.actor, entry.before, entry.after, entry.reason) == ("captain", {"n": 1}, {"n": 2}, "less risk")
    assert str(entry) == "captain: limit set account:1"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change", [lambda: AuditEntry.objects.update(reason="x"), lambda: AuditEntry.objects.all().delete()]
)
def test_the_audit_trail_cannot_be_changed(change):
    audit_write("captain", "limit set", "account:1")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        change()
    assert AuditEntry.objects.count() == 1


@pytest.mark.django_db
def test_the_audit_trail_cannot_be_emptied():
    audit_write("captain", "limit set", "account:1")
    with connection.cursor() as cursor:
        # between tests the tables are emptied, so the tests' own database stands without this trigger
        cursor.execute("ALTER TABLE common_auditentry ENABLE TRIGGER audit_not_emptied")
        with pytest.raises(DatabaseError, match="append-only: TRUNCATE refused"), transaction.atomic():
            cursor.execute("TRUNCATE common_auditentry")
    assert AuditEntry.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(("actor", "action"), [("", "x"), ("x", "")])
def test_an_entry_without_actor_or_action_is_refused(actor, action):
    with pytest.raises(ValueError, match="needs an actor and an action"):
        audit_write(actor, action, "t")


# Encrypted fields


class Vault(models.Model):
    secret = EncryptedTextField(blank=True)

    class Meta:
        app_label = "common"
        managed = False
        db_table = "test_vault"


@pytest.fixture
def keys(tmp_path, settings):
    settings.STATE_DIR = tmp_path
    return tmp_path / "keys" / "credential.key"


@pytest.fixture
def vault(db, keys):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE test_vault (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, secret text)")
    return Vault


def stored():
    with connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM test_vault ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def test_a_secret_is_ciphertext_in_the_table_and_plain_here(vault, keys):
    vault.objects.create(secret="top secret")
    assert "top" not in stored()[0]
    assert vault.objects.get().secret == "top secret"
    assert stat.S_IMODE(os.stat(keys).st_mode) == 0o600


def test_an_empty_secret_stays_empty(vault):
    vault.objects.create(secret="")
    assert stored() == [""]
    assert vault.objects.get().secret == ""


def test_a_dump_and_a_form_never_show_it(vault):
    row = vault(secret="top secret")
    field = vault._meta.get_field("secret")
    assert "top" not in field.value_to_string(row)
    assert "top" not in field.formfield().widget.render("secret", "top secret")


def test_without_its_key_a_secret_cannot_be_read_and_it_says_why(vault, keys):
    vault.objects.create(secret="x")
    keys.rename(keys.with_suffix(".lost"))
    with pytest.raises(SecretUnreadable, match=r"credential\.key is missing"):
        vault.objects.get()
    secret_encrypt("another key now")
    with pytest.raises(SecretUnreadable, match="does not fit the keys"):
        vault.objects.get()


def test_keys_are_rotated_without_losing_anything(vault, keys):
    vault.objects.create(secret="x")
    before, old_file = stored(), keys.read_text()
    assert secret_keys_rotate([(vault, "secret")]) == 1
    assert stored() != before
    assert secret_decrypt(before[0]) == "x", "the old key still reads"
    secret_keys_forget()
    assert vault.objects.get().secret == "x"
    assert old_file.strip() not in keys.read_text()
    assert stat.S_IMODE(os.stat(keys).st_mode) == 0o600
    with pytest.raises(SecretUnreadable):
        secret_decrypt(before[0])


# Enqueueing, schedule, keeping time


@pytest.mark.django_db(transaction=True)
def test_a_task_is_sent_after_the_commit_and_not_after_a_rollback(monkeypatch):
    sent = []
    monkeypatch.setattr("apps.common.enqueue._send", lambda *given: sent.append(given))
    with transaction.atomic():
        enqueue_on_commit("market.backfill", 1, days=2)
        assert sent == []
    with transaction.atomic():
        enqueue_on_commit("market.backfill", 3)
        transaction.set_rollback(True)
    assert sent == [("market.backfill", (1,), {"days": 2})]


@pytest.mark.django_db(transaction=True)
def test_a_task_goes_to_its_queue_and_to_no_other(clean_bus):
    for task in ("execution.anything", "market.anything", "market.another", "learning.anything", "scanners.anything"):
        enqueue_on_commit(task, 1)
    lengths = {queue: clean_bus.llen(queue) for queue in ("data", "scanning", "training", "execution")}
    assert lengths == {"data": 2, "scanning": 1, "training": 1, "execution": 1}


@pytest.mark.django_db(transaction=True)
def test_a_lost_broker_raises_nothing(monkeypatch):
    from celery_worker.app import app

    monkeypatch.setattr(app, "send_task", _refuse)
    enqueue_on_commit("market.anything")


def _refuse(*_, **__):
    raise OSError("connection refused")


def test_the_schedule_is_collected_from_the_apps():
    assert schedule_collect()["common: prune the outbox"]["task"] == "common.outbox_prune"


@pytest.mark.django_db(transaction=True)
def test_old_log_messages_go_and_the_newer_stay():
    with transaction.atomic():
        outbox_add(*[("test.notes", Note(text="x", number=number)) for number in range(25)])
    Outbox.objects.filter(n__lte=20).update(at=timezone.now() - timedelta(days=91))
    assert outbox_prune(batch=7) == 20
    assert [n for n, _ in outbox_read("test.notes", after=0)] == [21, 22, 23, 24, 25]
