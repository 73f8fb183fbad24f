"""What a page's scripts import is announced before them, and exists."""

import re

import pytest

from apps.dashboard.modules import modules_behind


def test_imports_are_followed_to_their_end_each_once():
    found = modules_behind("js/desk.js")
    assert {"js/chart.js", "js/bars.js", "js/live.js", "js/format.js"} <= set(found)
    assert len(found) == len(set(found))
    assert "js/desk.js" not in found
    assert "js/shell.js" not in found  # loaded when a dialog opens: not before


def test_script_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"js/nothing\.js"):
        modules_behind("js/nothing.js")


@pytest.mark.parametrize("page", ["/", "/market/bybit-sim/btc-usdt/", "/data/", "/risk/", "/you/"])
def test_page_announces_each_module_once_and_ends_with_the_shell(desk, as_role, page):
    html = as_role("viewer").get(page).content.decode()
    announced = re.findall(r'rel="modulepreload" href="/static/\w{12}/([^"]+)"', html)
    scripts = re.findall(r'<script type="module" src="/static/\w{12}/([^"]+)"', html)
    assert len(announced) == len(set(announced))
    assert scripts[-1] == "js/shell.js"
    assert set(announced) | set(scripts) >= {found for script in scripts for found in modules_behind(script)}
