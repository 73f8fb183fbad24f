"""The strategy that the documentation writes works as it stands there."""

import importlib.util
import re
import sys

import numpy as np
import pytest

from tests.core.catalogue import random_walk
from trader.core.engine import Pipeline
from trader.core.indicators.bits import violations


@pytest.fixture
def written(root, tmp_path):
    page = (root / "docs" / "how-to" / "write-a-strategy.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "trend_follow.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("trend_follow", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["trend_follow"] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["trend_follow"]


def test_the_documented_strategy_compiles_is_bit_safe_and_decides(written):
    pipeline = Pipeline(written.STRATEGY, {}, ["spot"])
    close = random_walk(400)
    rows = np.column_stack([close, close + 0.1, close - 0.1, close, np.ones(400)])
    decided = [pipeline.step(0, row) for row in rows.tolist()]
    assert pipeline.remarks == []
    assert violations(written.decide) == []
    assert {d.reason for d in decided} == {"incomplete", "rising", "not_rising"}
    assert [d.outcome for d in decided][: pipeline.warm_up - 1] == ["blocked"] * (pipeline.warm_up - 1)
    assert decided[pipeline.warm_up - 1].outcome != "blocked"
