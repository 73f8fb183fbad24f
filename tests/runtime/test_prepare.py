"""`up` refuses a schema that this version does not know, and takes one that is behind."""

import pytest
from django.core.management import CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from trader.runtime.management.commands.prepare import Command


@pytest.mark.django_db
def test_a_database_with_changes_from_a_later_version_is_refused_by_name():
    MigrationRecorder(connection).record_applied("execution", "0999_later")
    with pytest.raises(CommandError, match=r"execution\.0999_later(.|\n)*Fix: run the version that made them"):
        Command()._migrate()


@pytest.mark.django_db
def test_changes_of_an_app_that_is_not_installed_any_more_do_not_matter():
    MigrationRecorder(connection).record_applied("somebody_elses", "0001_initial")
    Command()._migrate()
