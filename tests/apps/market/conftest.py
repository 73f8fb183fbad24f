"""What the market's tests share."""

import psycopg
import pytest
from django.db import connection

from apps.market.storage.tables import PARENTS, PRINTS


@pytest.fixture
def hot_bars_emptied(transactional_db):
    """Empty the tables of bars and prints afterwards: Django's flush does not know them."""
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join((*PARENTS, PRINTS))}")


@pytest.fixture
def dsn(db) -> str:
    """How psycopg reaches the test database."""
    settings = connection.settings_dict
    return psycopg.conninfo.make_conninfo(
        host=settings["HOST"], port=settings["PORT"] or None, user=settings["USER"], dbname=settings["NAME"]
    )
