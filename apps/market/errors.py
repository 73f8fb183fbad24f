"""Errors of the market app. Each says what the system does next."""

from trader.core.types.errors import DataError, TraderError, VenueRejected, VenueUnavailable


class VenueRefused(VenueRejected):
    """The venue answered with an error that asking again will not cure: the work stops and a person is told."""


class VenueUnreachable(VenueUnavailable):
    """No answer in time: the feed keeps trying with back-off; a back-fill is tried again later."""


class BackfillRefused(DataError):
    """The span cannot be filled as asked: nothing was fetched; the message says why and what would do."""


class UniverseRefused(DataError):
    """The universe would not make sense: nothing was changed; the message names the field."""


class EpochMissing(TraderError):
    """The venue has no current epoch: run `manage.py prepare`; nothing is collected until then."""
