"""The template has the whole shape of a provider, so that a copy starts complete."""

import inspect

import pytest

from apps.market.errors import VenueRefused
from apps.market.providers import ADAPTERS, provider_make
from apps.market.providers._template import client, parsers
from apps.market.providers._template.adapter import TemplateProvider
from apps.market.providers.base import Provider
from apps.market.providers.bybit.adapter import BybitProvider


def _methods(kind: type) -> dict[str, inspect.Signature]:
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: inspect.signature(function) for name, function in found if not name.startswith("_")}


@pytest.mark.parametrize("made", [TemplateProvider, BybitProvider])
def test_a_provider_has_every_method_with_the_agreed_parameters(made: type) -> None:
    for name, wanted in _methods(Provider).items():
        assert list(_methods(made)[name].parameters) == list(wanted.parameters), name


@pytest.mark.parametrize("function", [one for one in vars(parsers).values() if inspect.isfunction(one)])
def test_what_is_not_filled_in_says_what_to_do(function) -> None:
    with pytest.raises(NotImplementedError, match=r"\w+ \w+"):
        function({})


async def test_an_empty_client_does_not_pretend_to_work() -> None:
    empty = client.TemplateClient("", "", lambda *_: None, lambda *_: None)
    with pytest.raises(NotImplementedError, match="ping it every 2 s"):
        await empty.dial("spot")


def test_the_template_is_no_adapter_that_a_venue_can_choose() -> None:
    assert "_template" not in ADAPTERS
    with pytest.raises(VenueRefused, match="'_template' is unknown"):
        provider_make("_template", "", "")
