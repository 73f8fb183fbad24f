"""The doctor says what is wrong with its fix, and its exit status says whether anything is."""

import io
import json
from contextlib import suppress
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from apps.common.models import Lease
from apps.monitoring import doctor
from apps.monitoring.doctor import application_checkup, echo_answer
from trader.config import config, load
from trader.runtime.checkup import BAD, GOOD, WARN, _clock_against, machine_checkup, servers_checkup
from trader.runtime.stack import QUEUES


def looked(findings):
    return {finding.name: finding for finding in findings}


def config_of(folder, **environment):
    return load({"QD_RUNTIME_STATE_DIR": str(folder), **environment}, root=folder)


def test_keys_that_others_can_read_or_that_are_empty_are_bad(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "secret.key").write_text("hidden")
    (tmp_path / "keys" / "secret.key").chmod(0o644)
    found = looked(machine_checkup(config_of(tmp_path)))
    assert (found["state folder"].state, found["keys"].state) == (WARN, BAD)
    assert "chmod 600" in found["keys"].fix
    (tmp_path / "keys" / "secret.key").write_text("")
    assert "empty: secret.key" in looked(machine_checkup(config_of(tmp_path)))["keys"].words


def test_a_cluster_of_another_version_and_missing_backups_are_named(tmp_path):
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("17\n")
    found = looked(machine_checkup(config_of(tmp_path)))
    assert found["embedded database"].state == BAD
    assert found["embedded database"].fix == "manage.py upgrade-database"
    assert found["backup"].state == WARN


def test_servers_that_do_not_answer_are_bad_and_their_addresses_stay_out(tmp_path):
    gone = config_of(
        tmp_path, DATABASE_URL="postgresql://u:secret@127.0.0.1:1/x", REDIS_URL="redis://:secret@127.0.0.1:1"
    )
    found = looked(servers_checkup(gone))
    assert {finding.state for finding in found.values()} == {BAD}
    assert "secret" not in repr(found)


@pytest.mark.django_db
def test_the_servers_of_this_run_are_well_but_for_what_tests_switch_off():
    found = looked(servers_checkup(config))
    with connection.cursor() as cursor:
        cursor.execute("SHOW fsync")
        is_durable = cursor.fetchone()[0] == "on"  # tests/servers.py starts it without
    assert found["database"].words.startswith("fsync") is not is_durable
    assert found["bus"].state == GOOD
    assert found["clock of the database"].state == found["clock of the bus"].state == GOOD


@pytest.mark.parametrize(("lead", "state"), [(0.4, GOOD), (-0.6, BAD), (3.0, BAD)])
def test_a_server_whose_clock_is_off_is_bad(lead, state):
    assert _clock_against("bus", lead).state == state


@pytest.mark.django_db
def test_a_queue_without_a_worker_is_named_and_one_with_a_worker_tells_its_time(monkeypatch):
    sent = []
    monkeypatch.setattr(doctor, "import_string", lambda _path: Sender(sent, answering={"data", "training"}))
    found = looked(application_checkup(0.5))
    assert [queue for _, queue in sent] == list(QUEUES)
    assert {queue: found[f"queue {queue}"].state for queue in QUEUES} == {
        "data": GOOD, "scanning": BAD, "training": GOOD, "execution": BAD,
    }  # fmt: skip
    assert "worker-scanning" in found["queue scanning"].fix


class Sender:
    """Stands where the broker stands; a worker of an answering queue answers at once, as its task would."""

    def __init__(self, sent, answering):
        self.sent, self.answering = sent, answering

    def send_task(self, name, args, queue, **_):
        assert name == "monitoring.echo"
        self.sent.append(args)
        if queue in self.answering:
            echo_answer(*args)


@pytest.mark.django_db
def test_residents_are_named_with_how_they_are(monkeypatch):
    monkeypatch.setattr(doctor, "_queues", lambda _wait: iter(()))
    assert looked(application_checkup(0))["relay main"].state == BAD
    lease = Lease.objects.create(
        kind="relay", key="main", holder="host/1", fence=1, since=timezone.now(), meta={"state": "waiting"},
        expires_at=timezone.now() + timedelta(minutes=5),
    )  # fmt: skip
    assert looked(application_checkup(0))["relay main"].state == WARN
    Lease.objects.filter(pk=lease.pk).update(meta={"state": "ready"})
    assert looked(application_checkup(0))["relay main"].state == GOOD


@pytest.mark.django_db
def test_the_command_ends_with_status_one_when_something_is_bad(monkeypatch):
    monkeypatch.setattr(doctor, "_queues", lambda _wait: iter(()))
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", "--json", stdout=out)
    assert ended.value.code == 1
    assert {"name", "state", "words", "fix"} == set(json.loads(out.getvalue())[0])
    out = io.StringIO()
    with suppress(SystemExit):
        call_command("doctor", stdout=out)
    assert "BAD  relay main" in out.getvalue()
    assert "Fix: see that its worker runs" in out.getvalue()
