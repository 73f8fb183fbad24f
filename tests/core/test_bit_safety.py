"""Kernels keep to operations whose bits do not depend on how they were compiled."""

import math
import re

import pytest

from tests.core.catalogue import every_module, every_step
from trader.core.indicators import leaf
from trader.core.indicators.bits import violations
from trader.core.indicators.definition import LEAVES


def leaves():
    every_module()
    names = ("trader.core.", "apps.")
    return [function for function in LEAVES if str(function.__module__).startswith(names)]


@pytest.mark.parametrize("function", leaves(), ids=lambda f: f"{f.__module__}.{f.__qualname__}")
def test_a_leaf_is_bit_safe(function):
    assert violations(function) == []


def test_every_step_is_among_the_leaves_that_are_checked():
    assert {each.function for each in every_step()} <= set(leaves())


@leaf
def good(x: float) -> float:
    return math.sqrt(abs(x)) * 2.0


def power(x):
    return x**2


def library(x, np):
    return np.sum(x)


def smallest(x):
    return min(x, 1.0)


def listed(x):
    return [x]


def unknown_call(x):
    return power(x)


def caught(x):
    try:
        return 1.0 / x
    except ZeroDivisionError:
        return 0.0


BAD = [
    (power, "a power"),
    (library, r"np\.sum"),
    (smallest, r"min\(\)"),
    (listed, "a list"),
    (unknown_call, "power"),
    (caught, "a try"),
]


@pytest.mark.parametrize(("function", "word"), BAD, ids=[f.__name__ for f, _ in BAD])
def test_what_is_not_bit_safe_is_found_and_named(function, word):
    (found, *_) = violations(function)
    assert function.__name__ in found
    assert re.search(word, found)


def test_math_and_other_leaves_may_be_called():
    assert violations(good) == []
