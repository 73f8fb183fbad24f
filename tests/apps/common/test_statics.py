"""Static files are answered before anything else of the application is asked."""

from pathlib import Path

import pytest
from channels.testing import HttpCommunicator
from django.conf import settings
from django.contrib.staticfiles.finders import find

from apps.common.statics import statics_before


async def never(scope, receive, send):
    raise AssertionError(f"asked for {scope['path']}")


async def inner(scope, receive, send):
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b"a page"})


def content(name: str) -> bytes:
    """What Django itself would take for this name."""
    path = find(name)
    assert path, name
    return Path(path).read_bytes()


async def ask(application, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    answer = await HttpCommunicator(application, method, path, headers=sent).get_response(timeout=10)
    return answer["status"], {name.decode(): value.decode() for name, value in answer["headers"]}, answer["body"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("css/tokens.css", "text/css"), ("js/kill.js", "text/javascript"), ("vendor/htmx.js", "text/javascript"),
     ("vendor/lightweight-charts.js", "text/javascript"), ("unfold/css/styles.css", "text/css")],
)  # fmt: skip
async def test_a_file_of_ours_of_a_package_and_of_an_app_is_whole_and_kept_for_good(name, kind):
    status, headers, body = await ask(statics_before(never), settings.STATIC_URL + name)
    assert (status, body) == (200, content(name))
    assert headers["content-type"].partition(";")[0] == kind
    assert headers["cache-control"].endswith("immutable")
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


async def test_what_has_not_changed_is_not_sent_again():
    files, path = statics_before(never), settings.STATIC_URL + "css/tokens.css"
    _, headers, _ = await ask(files, path)
    assert (await ask(files, path, if_modified_since=headers["last-modified"]))[0] == 304
    status, _, body = await ask(files, path, "HEAD")
    assert (status, body) == (200, b"")


@pytest.mark.parametrize("under", ["", "css/none.css", "css/", "../../manage.py", "css/../css/tokens.css"])
async def test_what_no_finder_knows_is_for_the_pages(under):
    assert (await ask(statics_before(inner), settings.STATIC_URL + under))[0] == 418
    assert (await ask(statics_before(inner), "/" + under))[0] == 418


async def test_the_application_answers_for_files_before_django_is_asked(monkeypatch):
    from django.core.handlers.asgi import ASGIHandler

    from trader.asgi import application

    monkeypatch.setattr(ASGIHandler, "__call__", never)
    status, headers, _ = await ask(application, settings.STATIC_URL + "js/kill.js")
    assert status == 200
    assert "set-cookie" not in headers
