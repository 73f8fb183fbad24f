"""The schedule, collected from the apps: each `schedule.py` holds SCHEDULE = {name: {"task": …, "schedule": …}}."""

from importlib import import_module
from typing import Any

from django.apps import apps
from django.utils.module_loading import module_has_submodule


def schedule_collect() -> dict[str, dict[str, Any]]:
    """Return all entries of all installed apps; a name given twice is refused."""
    found: dict[str, dict[str, Any]] = {}
    for config in apps.get_app_configs():
        if not module_has_submodule(config.module, "schedule") or not config.name.startswith("apps."):
            continue
        for name, entry in import_module(f"{config.name}.schedule").SCHEDULE.items():
            if name in found:
                raise ValueError(f"two apps schedule {name!r}; rename the one in {config.name}.schedule")
            found[name] = entry
    return found
