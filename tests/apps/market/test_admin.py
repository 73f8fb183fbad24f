"""The admin of the market: changes go through services, refusals are words at their field."""

import pytest
from django.urls import reverse

from apps.common.models import AuditEntry, Job
from apps.common.outbox import outbox_read
from apps.market.models import Universe, Venue
from apps.market.selectors import epoch_current
from apps.market.services import venue_save
from apps.market.storage.writer import bars_write
from tests.apps.market.factories import epoch_make, instrument_make, minutes_make, venue_make

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin_client(client, django_user_model):
    client.force_login(
        django_user_model.objects.create_user("admin", role="admin"), "django.contrib.auth.backends.ModelBackend"
    )
    return client


@pytest.fixture
def market():
    venue = venue_make()
    epoch_make(venue)
    return venue, instrument_make(venue), instrument_make(venue, "ETH/USDT")


def _universe_form(venue, **fields) -> dict:
    return {"name": "mine", "venue": venue.pk, "kind": "fixed", "rule_quote": "", "rule_kind": "",
              "rule_min_turnover": "0", "is_collected": "on", **fields}  # fmt: skip


def test_a_universe_made_in_the_admin_is_audited_and_told(admin_client, market) -> None:
    venue, bitcoin, _ = market
    answer = admin_client.post(reverse("admin:market_universe_add"), _universe_form(venue, members=[bitcoin.pk]))
    assert answer.status_code == 302
    told = outbox_read("universes", 0)[-1][1]
    assert (told.name, told.instrument_ids, told.by) == ("mine", [bitcoin.pk], "admin")
    assert AuditEntry.objects.filter(action="universe.save", actor="admin").count() == 1


def test_a_rule_works_its_members_out_when_it_is_saved(admin_client, market) -> None:
    venue, *members = market
    admin_client.post(reverse("admin:market_universe_add"), _universe_form(venue, kind="rule", rule_quote="USDT"))
    universe = Universe.objects.get()
    assert set(universe.members.all()) == set(members)
    form = _universe_form(venue, kind="rule", rule_quote="EUR", members=[member.pk for member in members])
    answer = admin_client.post(reverse("admin:market_universe_change", args=[universe.pk]), form)
    assert answer.status_code == 302
    assert not universe.members.exists()
    assert outbox_read("universes", 0)[-1][1].instrument_ids == []


def test_members_of_another_venue_are_refused_at_their_field(admin_client, market) -> None:
    venue, *_ = market
    stranger = instrument_make(venue_make("other"), "SOL/USDT")
    answer = admin_client.post(reverse("admin:market_universe_add"), _universe_form(venue, members=[stranger.pk]))
    assert answer.status_code == 200
    assert "SOL/USDT belong to another venue" in answer.context["adminform"].form.errors["members"][0]
    assert not Universe.objects.exists()


def test_a_deleted_universe_is_told(admin_client, market) -> None:
    venue, bitcoin, _ = market
    admin_client.post(reverse("admin:market_universe_add"), _universe_form(venue, members=[bitcoin.pk]))
    universe = Universe.objects.get()
    admin_client.post(reverse("admin:market_universe_delete", args=[universe.pk]), {"post": "yes"})
    assert outbox_read("universes", 0)[-1][1].instrument_ids == []


def test_a_list_of_universes_can_be_refreshed_and_deleted(admin_client, market) -> None:
    venue, bitcoin, _ = market
    admin_client.post(reverse("admin:market_universe_add"), _universe_form(venue, members=[bitcoin.pk]))
    chosen = {"_selected_action": [Universe.objects.get().pk]}
    url = reverse("admin:market_universe_changelist")
    answer = admin_client.post(url, {**chosen, "action": "refresh"}, follow=True)
    assert "mine: 1 members." in [str(message) for message in answer.context["messages"]]
    admin_client.post(url, {**chosen, "action": "delete_selected", "post": "yes"})
    assert not Universe.objects.exists()


def test_half_an_address_of_a_venue_is_refused_in_words(admin_client) -> None:
    form = {"code": "mine", "name": "Mine", "adapter": "bybit", "rest_url": "http://127.0.0.1:1", "socket_url": ""}
    answer = admin_client.post(reverse("admin:market_venue_add"), form)
    assert answer.status_code == 200
    assert "give both for an address of your own" in str(answer.context["adminform"].form.errors)
    answer = admin_client.post(reverse("admin:market_venue_add"), {**form, "rest_url": ""})
    assert answer.status_code == 302
    assert Venue.objects.get().rest_url == ""


def test_another_market_for_a_venue_with_bars_is_refused_at_its_fields(admin_client) -> None:
    venue = venue_save(Venue(code="mine", name="Mine"), by="ann")
    bars_write(epoch_id=epoch_current("mine").pk, timeframe_s=60, bars=minutes_make(instrument_make(venue).pk, 1))
    url = reverse("admin:market_venue_change", args=[venue.pk])
    form = {"name": "Mine", "adapter": "bybit", "rest_url": "", "socket_url": "", "is_active": "on"}
    moved = {**form, "rest_url": "https://api-testnet.bybit.com", "socket_url": "wss://stream-testnet.bybit.com"}
    answer = admin_client.post(url, moved)
    assert answer.status_code == 200
    errors = answer.context["adminform"].form.errors
    assert set(errors) == {"rest_url", "socket_url"}
    assert "add another venue with a code of its own" in errors["rest_url"][0]
    assert Venue.objects.get().rest_url == ""
    assert admin_client.post(url, {**form, "name": "Ours"}).status_code == 302
    assert Venue.objects.get().name == "Ours"


def test_the_simulators_venue_is_changed_in_what_its_start_does_not_set(admin_client, market) -> None:
    venue, *_ = market
    Venue.objects.update(rest_url="http://127.0.0.1:1", socket_url="ws://127.0.0.1:1")
    url = reverse("admin:market_venue_change", args=[venue.pk])
    form = {"name": "Ours", "rest_url": "http://127.0.0.1:9", "socket_url": "ws://127.0.0.1:9"}
    assert admin_client.post(url, form).status_code == 302
    saved = Venue.objects.get()
    assert (saved.name, saved.is_active, saved.rest_url) == ("Ours", False, "http://127.0.0.1:1")


def test_a_venue_that_does_not_answer_says_so(admin_client, market) -> None:
    venue, *_ = market
    Venue.objects.update(rest_url="http://127.0.0.1:1", socket_url="ws://127.0.0.1:1")
    answer = admin_client.post(
        reverse("admin:market_venue_changelist"), {"_selected_action": [venue.pk], "action": "sync"}, follow=True
    )
    assert any("127.0.0.1:1" in str(message) for message in answer.context["messages"])


@pytest.mark.parametrize("model", ["venue", "instrument", "epoch", "universe"])
def test_every_list_and_page_opens(admin_client, market, model) -> None:
    assert admin_client.get(reverse(f"admin:market_{model}_changelist")).status_code == 200
    venue, bitcoin, _ = market
    row = {"venue": venue, "instrument": bitcoin, "epoch": venue.epochs.get(), "universe": None}[model]
    if row is not None:
        assert admin_client.get(reverse(f"admin:market_{model}_change", args=[row.pk])).status_code == 200


def test_what_the_venue_writes_cannot_be_edited_by_hand(admin_client, market) -> None:
    _, bitcoin, _ = market
    url = reverse("admin:market_instrument_change", args=[bitcoin.pk])
    assert admin_client.post(url, {"symbol": "X/Y"}).status_code == 403
    assert admin_client.get(reverse("admin:market_epoch_add")).status_code == 403


def test_missing_minutes_are_filled_by_a_job_that_is_shown_and_can_be_stopped(admin_client, market) -> None:
    venue, bitcoin, _ = market
    universe = Universe.objects.create(name="mine", venue=venue)
    universe.members.set([bitcoin])
    ask = {"action": "backfill", "_selected_action": [universe.pk]}
    answer = admin_client.post(reverse("admin:market_universe_changelist"), ask, follow=True)
    assert "Let the feed collect them first" in answer.content.decode()
    bars_write(epoch_id=epoch_current(venue.code).pk, timeframe_s=60, bars=minutes_make(bitcoin.pk, 2))
    answer = admin_client.post(reverse("admin:market_universe_changelist"), ask, follow=True)
    job = Job.objects.get()
    assert f"job {job.pk} with {job.total} shares has begun" in answer.content.decode()
    assert (job.total, job.by) == (31, "admin")  # thirty days touch thirty-one
    shown = admin_client.get(reverse("admin:common_job_changelist")).content.decode()
    assert "0 of 31" in shown
    stop = {"action": "cancel", "_selected_action": [job.pk]}
    admin_client.post(reverse("admin:common_job_changelist"), stop, follow=True)
    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED
    page = admin_client.get(reverse("admin:common_job_change", args=[job.pk])).content.decode()
    assert "cancel asked by admin" in page
