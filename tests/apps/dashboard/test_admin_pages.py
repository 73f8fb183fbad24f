"""The admin: every list and form opens for an admin, books cannot be edited, deployments go through their services."""

import pytest
from django.contrib import admin
from django.urls import reverse

from apps.strategies.models import Deployment

admin.autodiscover()  # as `trader.urls` does
OURS = [model for model in admin.site._registry if model.__module__.startswith("apps.")]


def address(model, page: str, *args) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def test_every_kind_of_setting_has_its_place():
    labels = {model._meta.label for model in OURS}
    assert {
        "market.Venue", "market.Universe", "risk.Limit", "portfolio.Account", "portfolio.Credential", "users.User",
        "strategies.Deployment", "common.AuditEntry",
    } <= labels  # fmt: skip


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_list_and_first_row_open(desk, as_role, model):
    client = as_role("admin")
    assert client.get(address(model, "changelist")).status_code == 200
    row = model._default_manager.first()
    if row is not None:
        assert client.get(address(model, "change", row.pk)).status_code == 200


@pytest.mark.parametrize("name", ["Order", "Fill", "Signal", "Decision", "Reconciliation", "AuditEntry"])
def test_books_are_read_only(desk, as_role, rf, people, name):
    model = next(model for model in OURS if model.__name__ == name)
    page = admin.site._registry[model]
    request = rf.get("/")
    request.user = people["admin"]
    assert not page.has_add_permission(request)
    assert not page.has_change_permission(request)
    assert not page.has_delete_permission(request)


@pytest.mark.parametrize("path", ["/admin/", "/admin/risk/limit/", "/admin/risk/limit/add/"])
def test_every_page_has_the_kill_switch(desk, as_role, path):
    html = as_role("admin").get(path).content.decode()
    assert html.count('data-kill="all"') == 1
    assert "js/kill-alone.js" in html


def test_menu_shows_only_what_is_registered(desk, as_role):
    html = as_role("admin").get("/admin/").content.decode()
    for words in ("Universes", "Limits", "Credentials", "People", "Audit", "Back to the desk"):
        assert words in html


def test_one_time_link_is_made_for_one_person(desk, as_role, people):
    client = as_role("admin")
    chosen = {"action": "sign_in_link", "_selected_action": [people["viewer"].pk]}
    html = client.post("/admin/users/user/", chosen, follow=True).content.decode()
    assert "/sign-in/link/#" in html
    both = {"action": "sign_in_link", "_selected_action": [people["viewer"].pk, people["trader"].pk]}
    assert "Choose one person" in client.post("/admin/users/user/", both, follow=True).content.decode()


@pytest.fixture
def started(desk):
    """Return a running deployment as its service makes it."""
    from apps.strategies.services import deployment_start

    return deployment_start(strategy="mean_reversion", account=desk.account, universe="desk", by="test")


def form(deployment: Deployment, **more) -> dict[str, object]:
    values = {
        "strategy": deployment.strategy, "account": deployment.account_id, "universe_name": "desk", "stage": "full",
        "own": "{}", "sizing": "{}", "no_stop_reason": "", "reason": "tried",
    }  # fmt: skip
    return values | more


def test_changing_a_deployment_makes_its_successor(started, as_role):
    client = as_role("admin")
    client.post(address(Deployment, "change", started.pk), form(started, stage="canary"))
    started.refresh_from_db()
    assert (started.state, started.successor.stage) == ("replaced", "canary")


def test_refused_change_says_why_and_changes_nothing(started, as_role):
    client = as_role("admin")
    answer = client.post(address(Deployment, "change", started.pk), form(started, own='{"nothing": 1}'), follow=True)
    assert "Not done:" in answer.content.decode()
    started.refresh_from_db()
    assert started.state == "running"


def test_deployment_is_started_and_stopped(started, as_role):
    client = as_role("admin")
    client.post(address(Deployment, "add"), form(started))
    newest = Deployment.objects.order_by("-pk").first()
    assert newest.pk != started.pk
    client.post(address(Deployment, "changelist"), {"action": "stop", "_selected_action": [newest.pk]})
    newest.refresh_from_db()
    assert newest.state == "stopped"


def test_start_lists_what_is_set_here_and_what_for(desk, as_role):
    html = as_role("admin").get("/admin/").content.decode()
    start = html[html.index('class="qd-start"') :]
    for words in ("Limits", "How much may be at risk", "Audit", "Failed sign-ins"):
        assert words in start
    assert "Access attempts" not in start  # the words of the menu, not those of packages
