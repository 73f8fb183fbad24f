"""Who takes over what a replaced deployment left."""

from apps.execution.desk.handover import heirs_of


def test_the_newest_of_a_line_is_the_heir_of_all_before_it() -> None:
    lineage = {"c": ("c", "a", "b"), "a": ("a",), "b": ("b", "a"), "other": ("other",)}
    assert heirs_of(lineage) == {"a": "c", "b": "c"}


def test_without_a_change_there_is_no_heir() -> None:
    assert heirs_of({"a": ("a",), "b": ("b",)}) == {}
