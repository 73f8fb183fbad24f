"""Every word that an order, a refusal or a block may carry is in the reference, and none is written past its list."""

import ast
from collections.abc import Iterator
from pathlib import Path

from apps.execution import desk
from apps.execution.origins import Blocker, Origin
from apps.execution.states import OrderState
from trader.config.schema import ROOT
from trader.core.risk.limits import Check

PAGE = (ROOT / "docs" / "reference" / "orders.md").read_text()
NAMED_BY = {"block", "unblock", "of_words"}


def rows_of(heading: str) -> set[str]:
    """The words in the first column of the table under a heading."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {word.strip(" `") for cell in cells for word in cell.split(",") if "`" in cell}


def test_every_origin_is_in_the_reference() -> None:
    assert rows_of("Who ended an order") == {str(one) for one in Origin}


def test_every_state_is_in_the_reference() -> None:
    assert rows_of("States") == {str(one) for one in OrderState}


def test_every_check_is_in_the_reference() -> None:
    assert rows_of("What refuses new risk") == {str(one) for one in Blocker} | {str(one) for one in Check}


def literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Words written out where one of the lists belongs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in NAMED_BY and isinstance(node.args[0], ast.Constant):
                yield node.lineno, str(node.args[0].value)
            for keyword in node.keywords:
                if keyword.arg == "origin" and isinstance(keyword.value, ast.Constant) and keyword.value.value:
                    yield node.lineno, str(keyword.value.value)


def test_no_module_of_the_desk_writes_a_word_of_its_own() -> None:
    modules = sorted(Path(desk.__file__).parent.glob("*.py"))
    assert len(modules) > 20
    found = {one.name: list(literals(ast.parse(one.read_text()))) for one in modules}
    assert {name: words for name, words in found.items() if words} == {}


def test_a_word_of_its_own_is_seen() -> None:
    assert list(literals(ast.parse('core.block("tired", "so it is")\nmove(order, state, origin="me")'))) == [
        (1, "tired"),
        (2, "me"),
    ]
