"""What is not documented fails the build: settings, commands, folders; and no link leads nowhere."""

import re
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.template import engines

from trader.config.loader import ALIASES, settings_declared, variable_of
from trader.config.schema import ROOT
from trader.runtime.settings_page import page as settings_page

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
LIGHT = {"up", "status", "down", "backup", "restore", "upgrade-database", "process"}


def test_every_setting_is_in_the_reference_with_variable_and_default():
    written = (DOCS / "reference" / "settings.md").read_text()
    assert written == settings_page(), "run `python manage.py settings-page` to write the reference anew"


def test_every_setting_has_a_help_text():
    assert [name for name, _, _, text in settings_declared() if not text.strip()] == []


def test_every_variable_of_the_example_file_is_a_setting():
    lines = (ROOT / ".env.example").read_text().splitlines()
    named = [line.lstrip("#").partition("=")[0] for line in lines if "=" in line and not line.startswith("# ")]
    declared = {variable_of(name) for name, *_ in settings_declared()} | ALIASES.keys()
    assert len(named) > 4
    assert sorted(set(named) - declared) == []


def test_every_command_of_ours_is_in_the_reference():
    page = (DOCS / "reference" / "commands.md").read_text()
    ours = {name for name, app in get_commands().items() if app.startswith(("apps.", "trader."))} | LIGHT
    assert sorted(name for name in ours if f"`{name}`" not in page and f"manage.py {name}" not in page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path):
    targets = [link for link in LINK.findall(page.read_text()) if not link.startswith(("http:", "https:", "mailto:"))]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_decision_record_has_a_number_of_its_own_and_says_why():
    records = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    numbers = [record.name[:4] for record in records]
    assert records
    assert len(numbers) == len(set(numbers))
    for record in records:
        assert re.search(r"(?i)\b(why|because|so that|context|reasons?)\b", record.read_text()), record


def test_every_template_compiles():
    engine = engines["django"].engine
    templates = [path.relative_to(ROOT / "templates") for path in (ROOT / "templates").rglob("*.html")]
    assert templates
    for template in templates:
        engine.get_template(str(template))


def test_the_readme_names_every_top_level_folder():
    readme = (ROOT / "README.md").read_text()
    folders = [path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    kept = [name for name in folders if name not in ("staticfiles", "test-artifacts", "htmlcov")]
    assert [name for name in kept if f"`{name}/" not in readme and f"{name}/" not in readme] == []
