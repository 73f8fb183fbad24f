"""Scripts of others come from installed packages, as they were tried, and are kept out of the repository."""

import hashlib

import pytest
from django.contrib.staticfiles import finders

from apps.dashboard.finders import VENDOR


@pytest.mark.parametrize("name", sorted(VENDOR))
def test_file_is_the_one_that_was_tried(name):
    data = VENDOR[name].path().read_bytes()
    assert hashlib.sha256(data).hexdigest() == VENDOR[name].sha256, f"{name} changed: try the pages, then note its hash"


@pytest.mark.parametrize(
    "name",
    [*sorted(VENDOR), "unfold/fonts/inter/Inter-Regular.woff2",
     "unfold/fonts/material-symbols/Material-Symbols-Outlined.woff2"],
)  # fmt: skip
def test_static_finders_find_it(name):
    assert finders.find(name)
    assert finders.find(name, find_all=True)


def test_unknown_file_is_not_found():
    assert finders.find("vendor/nothing.js") is None


@pytest.mark.parametrize("name", sorted(VENDOR))
def test_it_is_served_under_our_name(client, name):
    answer = client.get(f"/static/{name}")
    assert answer.status_code == 200
    assert b"".join(answer.streaming_content) == VENDOR[name].path().read_bytes()


def test_script_of_a_page_stays_within_its_measure(root):
    import gzip

    files = [entry.path() for entry in VENDOR.values()] + list((root / "static" / "js").glob("*.js"))
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < 250_000


def test_no_third_party_code_lies_in_the_repository(root):
    assert not list((root / "static").rglob("*.min.js"))
    assert not list((root / "static").rglob("*.woff*"))
