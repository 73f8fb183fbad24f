"""What a first run holds of risk."""

import pytest

from apps.risk import seed, selectors, services
from apps.risk.killswitch.records import CLEAR, ENGAGED, UNCLEAR
from apps.risk.models import Limit
from tests.apps.risk.fixtures import kill_wipe
from trader.config import config
from trader.core.risk import Limits

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def wiped(transactional_db):
    kill_wipe()
    yield
    kill_wipe()


def test_the_first_run_clears_the_kill_switch_and_sets_every_limit(account, spot):
    assert seed.seed({}, {"account_id": account.pk}) == {"kill_records_made": True}
    assert selectors.kill_states()["all"].state == CLEAR
    assert None not in [getattr(selectors.limits_snapshot(account.pk).net(spot.pk), name) for name in seed.DEFAULTS]
    assert set(seed.DEFAULTS) == set(Limits.__dataclass_fields__)


def test_a_later_run_never_clears_what_a_person_has_engaged(account):
    seed.seed({}, {})
    services.kill_engage_sync("all", "ann")
    assert seed.seed({}, {}) == {"kill_records_made": False}
    assert selectors.kill_states()["all"].state == ENGAGED


def test_a_limit_that_a_person_has_removed_does_not_come_back(account):
    seed.seed({}, {"account_id": account.pk})
    services.limit_remove(limit=Limit.objects.get(check_name="leverage"), by="ann")
    seed.seed({}, {"account_id": account.pk})
    assert not Limit.objects.filter(check_name="leverage").exists()


def test_a_lost_database_record_stays_lost(account):
    from apps.risk.models import KillRecord

    seed.seed({}, {})
    KillRecord.objects.all().delete()
    seed.seed({}, {})
    from apps.risk.killswitch.overview import kept_forget

    kept_forget()
    assert selectors.kill_states()["all"].state == UNCLEAR


def test_a_host_without_a_file_gets_it_when_it_starts():
    seed.seed({}, {})
    (config.runtime.state_dir / "kill" / "kill.json").unlink()
    seed.seed({}, {})
    assert (config.runtime.state_dir / "kill" / "kill.json").exists()
