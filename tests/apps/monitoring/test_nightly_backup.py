"""The schedule backs up every night, in a process of its own, and says so when it cannot."""

import os
from urllib.parse import urlsplit

import pytest
from django.db import connection

from apps.monitoring import services
from apps.monitoring.services import BackupFailed, backup_nightly
from celery_worker.schedule import schedule_collect
from trader.config import config
from trader.runtime.archive import archive_verify
from trader.runtime.backup import backup_folder, backups_list


def test_a_backup_is_scheduled_every_night():
    entry = schedule_collect()["monitoring: backup"]
    assert entry["task"] == "monitoring.backup"
    assert (entry["schedule"].hour, entry["schedule"].minute) == ({2}, {30})


@pytest.mark.django_db
def test_the_task_makes_a_whole_backup_of_this_database(monkeypatch):
    monkeypatch.setenv(
        "DATABASE_URL",
        urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl(),
    )
    said = backup_nightly()
    newest = backups_list(backup_folder(config))[-1]
    assert newest.name in said
    assert {"database.dump", "state/keys/secret.key"} <= set(archive_verify(newest).files)
    newest.unlink()


def test_a_backup_that_fails_is_an_error_in_words(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(BackupFailed, match="Fix"):
        backup_nightly()


def test_switched_off_it_makes_none(monkeypatch):
    off = config.backup.model_copy(update={"nightly": False})
    monkeypatch.setattr(services, "config", config.model_copy(update={"backup": off}))
    assert "switched off" in backup_nightly()
