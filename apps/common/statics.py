"""Static files, answered before Django: a first visit asks for two dozen, and each would cost Django a thread."""

from collections.abc import Awaitable, Callable
from typing import Any
from wsgiref.headers import Headers

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from servestatic import ServeStaticASGI

Application = Callable[..., Awaitable[None]]


def statics_before(inner: Application) -> Application:
    """Return an ASGI application that answers for every file that the finders know, and leaves the rest to `inner`.

    Files are looked up once, at the start; their address changes with their bytes, so browsers keep them for good.
    """
    served = ServeStaticASGI(
        inner, allow_all_origins=False, immutable_file_test=lambda path, url: True, add_headers_function=_headers_add
    )
    for name, path in _files().items():
        served.add_file_to_dictionary(settings.STATIC_URL + name, path)
    return served


def _files() -> dict[str, str]:
    """Return name -> path; where two finders know a name, the first one's file counts, as it does for Django."""
    found: dict[str, str] = {}
    for finder in get_finders():
        for name, storage in finder.list(None):
            found.setdefault(name, storage.path(name))
    return found


def _headers_add(headers: Headers, path: str, url: str) -> Any:
    headers["X-Content-Type-Options"] = "nosniff"
