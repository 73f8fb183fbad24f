"""What upper apps register downward by name: `module:name` or `module.name`, imported when it is first asked."""

from typing import Any

from django.utils.module_loading import import_string


def imported(path: str) -> Any:
    """Return what a dotted path names. Raises `ImportError` for one that names nothing."""
    return import_string(path.replace(":", "."))
