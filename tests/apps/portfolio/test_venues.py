"""Venues with accounts: they stay the market that the accounts trade."""

import pytest

from apps.market.errors import VenueRefused
from apps.market.models import Epoch, Venue
from apps.market.services import venue_save
from apps.portfolio import services

pytestmark = pytest.mark.django_db


def test_a_venue_with_an_account_of_any_epoch_stays_the_market_it_is() -> None:
    venue = venue_save(Venue(code="real", name="Bybit"), by="ann")
    over = Epoch.objects.create(venue=venue, number=1, kind=Epoch.Kind.REPLAY)
    services.account_for_epoch(epoch=over, name="Mine")
    venue.rest_url, venue.socket_url = "https://api-testnet.bybit.com", "wss://stream-testnet.bybit.com"
    with pytest.raises(VenueRefused, match=r"rest_url and socket_url: .* it has accounts \(Mine\), and"):
        venue_save(venue, by="ann")
    services.account_for_epoch(epoch=over, name="Second")
    with pytest.raises(VenueRefused, match=r"it has accounts \(Mine, and others\)"):
        venue_save(venue, by="ann")
    assert Venue.objects.get().rest_url == ""
