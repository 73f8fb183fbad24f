"""Roles include each other in order, decide what a view admits, and open the admin."""

import pytest
from django.http import HttpResponse
from django.template import Context, Template
from django.test import RequestFactory

from apps.users.access import role_required
from apps.users.models import Role, User
from apps.users.seed import seed


@pytest.mark.parametrize(("role", "reach"), [("viewer", 1), ("annotator", 2), ("trader", 3), ("admin", 4)])
def test_each_role_includes_those_before_it(role, reach):
    assert [User(role=role).may(needed) for needed in Role.values] == [True] * reach + [False] * (4 - reach)


def test_only_the_admin_role_opens_the_admin(client, people):
    for role, person in people.items():
        client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
        status = client.get("/admin/").status_code
        assert status == (200 if role == "admin" else 302)


def test_losing_the_role_closes_the_admin_at_once(people):
    people["admin"].role = Role.VIEWER
    people["admin"].save(update_fields=["role"])
    people["admin"].refresh_from_db()
    assert not people["admin"].is_staff
    assert not people["admin"].is_superuser


def test_view_refuses_a_role_that_does_not_reach_and_says_which_does(people):
    @role_required(Role.TRADER)
    def view(request):
        return HttpResponse("in")

    request = RequestFactory().get("/")
    request.htmx = True
    request.user = people["annotator"]
    answer = view(request)
    assert answer.status_code == 403
    assert "role trader" in answer.content.decode()
    request.user = people["trader"]
    assert view(request).content == b"in"


def test_template_filter_asks_for_a_role(people):
    template = Template('{% load people %}{% if user|may:"trader" %}yes{% else %}no{% endif %}')
    assert [template.render(Context({"user": people[role]})) for role in Role.values] == ["no", "no", "yes", "yes"]
    assert template.render(Context({"user": None})) == "no"


def test_seed_makes_the_first_admin_once(db):
    assert seed({}, {}) == {"person": "captain"}
    assert seed({}, {}) == {"person": "captain"}
    captain = User.objects.get()
    assert (captain.role, captain.has_usable_password()) == ("admin", False)
