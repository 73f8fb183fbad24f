"""The house keeps its floors: the rules hold, and each of them notices when it is broken."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings

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
VIOLATIONS = {
    "floors": ("apps/market/planted.py", "import apps.dashboard\n"),
    "anatomy": ("apps/users/models.py", "\nimport apps.users.services\n"),
    "doors": ("apps/execution/planted.py", "import apps.market.admin\n"),
    "core": ("trader/core/planted.py", "import django\n"),
    "hosts": ("trader/runtime/planted.py", "import apps.common\n"),
}
NAMES = {
    "floors": "The apps stand on floors",
    "anatomy": "Inside an app",
    "doors": "An app shows others only",
    "core": "The core knows no framework",
    "hosts": "The runtime and the workers import no app",
}


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


def test_each_layer_rule_notices_a_planted_violation(copy):
    for path, text in VIOLATIONS.values():
        with (copy / path).open("a") as file:
            file.write(text)
    result = lint(copy)
    assert result.returncode != 0
    for rule, name in NAMES.items():
        line = next(line for line in result.stdout.splitlines() if line.startswith(name))
        assert line.endswith("BROKEN"), f"{rule}: {line}"


def test_an_app_without_a_floor_is_refused(copy):
    (copy / "apps" / "newcomer").mkdir()
    (copy / "apps" / "newcomer" / "__init__.py").touch()
    result = lint(copy)
    assert result.returncode != 0
    assert "newcomer" in result.stdout + result.stderr


def test_no_foreign_key_points_up():
    floor_of = {app: floor for floor, names in enumerate(FLOORS) for app in names}
    up = [
        f"{model.__name__}.{field.name} -> {field.related_model.__name__}"
        for model in apps.get_models()
        if model.__module__.startswith("apps.")
        for field in model._meta.get_fields()
        if field.is_relation and field.concrete and field.related_model is not None
        if field.related_model._meta.label != settings.AUTH_USER_MODEL
        if floor_of.get(field.related_model._meta.app_label, -1) > floor_of[model._meta.app_label]
    ]
    assert up == []


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
