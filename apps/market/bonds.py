"""What binds a venue to its market, and what keeps it on: upper apps say so, downward, by dotted path.

Accounts, positions and orders live above the market, and a change of their venue would go past them.
"""

from collections.abc import Callable

from apps.common.dotted import imported

Words = Callable[[int], str]
_bound: list[str] = []
_open: list[str] = []


def register_venue_bound(path: str) -> None:
    """Ask this function whenever a venue is to become another market's.

    `path` is a dotted path, `module:name`, of a synchronous function from a venue's number to what of that market is
    kept already, in words that follow "it has"; empty when nothing is. Apps call this in `AppConfig.ready()`.
    """
    if path not in _bound:
        _bound.append(path)


def register_venue_open(path: str) -> None:
    """Ask this function whenever a venue is to be switched off.

    `path` names a function from a venue's number to what is still open there, in words; empty when nothing is.
    """
    if path not in _open:
        _open.append(path)


def bound_by(venue_id: int) -> list[str]:
    """Return what upper apps keep of this venue's market. What a function raises is raised: never guessed."""
    return _said(_bound, venue_id)


def open_at(venue_id: int) -> list[str]:
    """Return what upper apps say is still open at this venue."""
    return _said(_open, venue_id)


def _said(paths: list[str], venue_id: int) -> list[str]:
    said: list[Words] = [imported(path) for path in paths]
    return [words for ask in said if (words := ask(venue_id))]
