"""Scripts of others, served from where pip put them: nothing of theirs is copied into this repository.

Each has the hash it was tried with; a test fails when an upgrade brings other bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage


@dataclass(frozen=True)
class VendorFile:
    """A file inside an installed package, and the SHA-256 of the version that was tried."""

    package: str
    inside: str
    sha256: str

    def path(self) -> Path:
        """Return where it lies; the package is found, not imported."""
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(f"{self.package} is not installed. Fix: make setup.")
        return Path(spec.submodule_search_locations[0]) / self.inside


VENDOR: dict[str, VendorFile] = {
    "vendor/lightweight-charts.js": VendorFile(
        "lwcharts",
        "vendor/lightweight-charts.standalone.production.js",
        "c0992580867c4912cc9385b3c2728315bcc1a76c7f1087dca908430fccdf31d7",
    ),
    "vendor/htmx.js": VendorFile(
        "django_htmx",
        "static/django_htmx/htmx-2.min.js",
        "71ea67185bfa8c98c39d31717c6fce5d852370fcdfd129db4543774d3145c0de",
    ),
}


class VendorFinder(BaseFinder):
    """Finds `vendor/…` among installed packages."""

    def check(self, **kwargs: Any) -> list[Any]:
        """Nothing to configure, nothing to check."""
        return []

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> str | list[str]:
        """Return the file's absolute path, or an empty list."""
        entry = VENDOR.get(path)
        if entry is None:
            return []
        return [str(entry.path())] if find_all else str(entry.path())

    def list(self, ignore_patterns: Any) -> Iterator[tuple[str, "_Renamed"]]:
        """Yield every file as (name, storage), as `collectstatic` and `apps/common/statics.py` ask."""
        for name, entry in VENDOR.items():
            yield name, _Renamed(name, entry.path())


class _Renamed(FileSystemStorage):
    """A storage of one file under another name than it has on disk."""

    prefix = None

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(location=str(path.parent))
        self._names = {name: path.name}

    def path(self, name: str) -> str:
        return super().path(self._names.get(name, name))
