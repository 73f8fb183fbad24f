"""The core is tested twice: compiled, and as plain Python, where coverage can see the lines of kernels."""

import pytest

from trader.core.indicators import is_compiled


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "compiler: needs compiled kernels; left out of the run in plain Python")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if is_compiled():
        return
    left_out = [item for item in items if item.get_closest_marker("compiler")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
