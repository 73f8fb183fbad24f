"""Scripts of others come from installed packages, as they were tried, and are kept out of the repository."""

import hashlib

import pytest
from django.contrib.staticfiles import finders

from apps.dashboard.finders import VENDOR
from trader import settings as settings_of_the_house


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


def test_an_edited_file_has_a_new_address(tmp_path, monkeypatch):
    (tmp_path / "static" / "js").mkdir(parents=True)
    script, pins = tmp_path / "static" / "js" / "a.js", tmp_path / "requirements.txt"
    monkeypatch.setattr(settings_of_the_house, "BASE_DIR", tmp_path)
    versions = []
    for one, two in (("1", "x==1"), ("2", "x==1"), ("2", "x==2"), ("1", "x==1")):
        script.write_text(one)
        pins.write_text(two)
        versions.append(settings_of_the_house._static_version())
    assert len(set(versions)) == 3
    assert versions[0] == versions[3]


def test_script_of_a_page_stays_within_its_measure(root):
    import gzip

    files = [entry.path() for entry in VENDOR.values()] + list((root / "static" / "js").glob("*.js"))
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < 250_000


def test_no_third_party_code_lies_in_the_repository(root):
    assert not list((root / "static").rglob("*.min.js"))
    assert not list((root / "static").rglob("*.woff*"))
