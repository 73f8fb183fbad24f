"""The house keeps its floors: the rules hold, and each of them notices when it is broken."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.db import models
from django.test.utils import isolate_apps

FLOORS = [
    ["common"],
    ["users"],
    ["market", "simulator"],
    ["features", "annotations", "portfolio"],
    ["scanners", "learning"],
    ["strategies"],
    ["risk"],
    ["execution"],
    ["backtesting"],
    ["monitoring"],
    ["dashboard"],
]
LINT = str(Path(sys.executable).with_name("lint-imports"))
NAMES = {
    "floors": "The apps stand on floors",
    "anatomy": "Inside an app",
    "doors": "An app shows others only",
    "core": "The core knows no framework",
    "hosts": "The runtime and the workers import no app",
}
# rule, file, what is written into it, and how the rule names it
VIOLATIONS = [
    (
        "floors",
        "apps/market/planted.py",
        "import apps.dashboard",
        "apps.market is not allowed to import apps.dashboard",
    ),
    ("anatomy", "apps/users/models.py", "import apps.users.services", "apps.users.models -> apps.users.services"),
    ("anatomy", "apps/common/models.py", "import apps.common.services", "apps.common.models -> apps.common.services"),
    ("doors", "apps/execution/planted.py", "import apps.market.admin", "apps.execution.planted"),
    *(
        ("core", f"trader/core/planted_{name.partition('.')[0]}.py", f"import {name}", f"-> {name}")
        for name in ("django", "celery", "redis", "channels", "apps.users", "celery_worker.app", "trader.config")
    ),
    ("hosts", "trader/runtime/planted.py", "import apps.common", "trader.runtime.planted -> apps.common"),
    ("hosts", "celery_worker/planted.py", "import apps.common", "celery_worker.planted -> apps.common"),
]


@pytest.fixture
def copy(tmp_path, root):
    """A copy of the packages, in which a test may plant what is forbidden."""
    for name in ("trader", "apps", "celery_worker"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests" / "architecture").mkdir(parents=True)
    for name in ("tests/__init__.py", "tests/architecture/__init__.py", "tests/architecture/doors.py"):
        shutil.copy(root / name, tmp_path / name)
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINT, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


def test_every_layer_rule_holds(root):
    result = lint(root)
    assert result.returncode == 0, result.stdout


def test_each_layer_rule_notices_every_planted_violation(copy):
    for _, path, text, _ in VIOLATIONS:
        with (copy / path).open("a") as file:
            file.write(f"\n{text}\n")
    result = lint(copy)
    assert result.returncode != 0
    for rule, name in NAMES.items():
        line = next(line for line in result.stdout.splitlines() if line.startswith(name))
        assert line.endswith("BROKEN"), f"{rule}: {line}"
    told = " ".join(result.stdout.split())
    assert [text for _, _, text, words in VIOLATIONS if words not in told] == []


def test_the_anatomy_holds_for_every_app(root):
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    anatomy = next(contract for contract in contracts if contract["id"] == "anatomy")
    assert set(anatomy["containers"]) == {f"apps.{name}" for names in FLOORS for name in names}


def test_an_app_without_a_floor_is_refused(copy):
    (copy / "apps" / "newcomer").mkdir()
    (copy / "apps" / "newcomer" / "__init__.py").touch()
    result = lint(copy)
    assert result.returncode != 0
    assert "newcomer" in result.stdout + result.stderr


def upward(found: Iterable[type[models.Model]]) -> list[str]:
    """Foreign keys that point to a higher floor; the user is the one exception."""
    floor_of = {app: floor for floor, names in enumerate(FLOORS) for app in names}
    return [
        f"{model.__name__}.{field.name} -> {field.related_model.__name__}"
        for model in found
        for field in model._meta.get_fields()
        if field.is_relation and field.concrete and field.related_model is not None
        if field.related_model._meta.label != settings.AUTH_USER_MODEL
        if floor_of.get(field.related_model._meta.app_label, -1) > floor_of[model._meta.app_label]
    ]


def test_no_foreign_key_points_up():
    assert upward(model for model in apps.get_models() if model.__module__.startswith("apps.")) == []


@isolate_apps("apps.market", "apps.risk")
def test_a_planted_foreign_key_that_points_up_is_noticed():
    class Limit(models.Model):
        class Meta:
            app_label = "risk"

    class Instrument(models.Model):
        limit = models.ForeignKey(Limit, on_delete=models.CASCADE)

        class Meta:
            app_label = "market"

    assert upward([Instrument, Limit]) == ["Instrument.limit -> Limit"]


def test_every_app_of_the_project_has_a_floor():
    ours = {config.label for config in apps.get_app_configs() if config.name.startswith("apps.")}
    assert ours == {name for names in FLOORS for name in names}


def test_importing_the_core_loads_no_framework(root):
    code = (
        "import sys, trader.core, pkgutil, importlib\n"
        "for m in pkgutil.walk_packages(trader.core.__path__, 'trader.core.'): importlib.import_module(m.name)\n"
        "print([n for n in ('django', 'celery', 'redis', 'channels', 'aiohttp', 'ccxt') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
