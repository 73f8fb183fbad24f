"""Which ES modules a page needs: told all at once, a browser fetches them side by side, not one behind another."""

import re
from functools import lru_cache
from pathlib import Path
from posixpath import dirname, join, normpath

from django.contrib.staticfiles import finders

# static imports only: what a module loads later (`import(…)`) is for later
IMPORT = re.compile(r'^(?:import|export)\b[^"\'(]*["\'](\.{1,2}/[^"\']+)["\']', re.MULTILINE)


@lru_cache(maxsize=64)
def modules_behind(name: str) -> tuple[str, ...]:
    """Return what a module imports, directly or not, each once, itself left out."""
    found: dict[str, None] = {}
    waiting = [name]
    while waiting:
        for imported in _imports(waiting.pop()):
            if imported not in found and imported != name:
                found[imported] = None
                waiting.append(imported)
    return tuple(found)


def _imports(name: str) -> list[str]:
    path = finders.find(name)
    if not path:
        raise FileNotFoundError(f"there is no script {name!r} among the static files")
    return [normpath(join(dirname(name), found)) for found in IMPORT.findall(Path(str(path)).read_text())]
