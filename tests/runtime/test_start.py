"""What every process does first: the same for pages, workers and commands."""

import os
import subprocess
import sys

import pytest

ENTRIES = {
    "pages": "import trader.asgi",
    "a worker": "from celery_worker.app import app; app.loader.import_default_modules()",
    "a command": "import django; django.setup()",
}
ASK = (
    "; import gc, sys; print(gc.isenabled(), gc.get_freeze_count() > 10_000, 'twisted.internet.reactor' in sys.modules)"
)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))
def test_garbage_is_collected_after_a_start_and_what_the_start_has_made_is_left_out(root, entry):
    done = subprocess.run(
        [sys.executable, "-c", entry + ASK],
        cwd=root, env=os.environ | {"DJANGO_SETTINGS_MODULE": "trader.settings"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "True", "False"], done.stdout


def test_a_command_loads_no_web_server(root):
    done = subprocess.run(
        [sys.executable, "-c", "import django; django.setup(); import sys; print(*sys.modules)"],
        cwd=root, env=dict(os.environ) | {"DJANGO_SETTINGS_MODULE": "trader.settings"}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert not {"daphne.server", "autobahn", "uvicorn"} & set(done.stdout.split())
