"""Identities that are derived, never drawn: the same decision always makes the same id."""

import hashlib
import re
from uuid import UUID

from trader.core.types.errors import ConfigurationError

INSTALL_DIGITS = 4
CLIENT_ID_DIGITS = 32
_INSTALL = re.compile(r"[0-9a-f]{4}")


def client_id(
    install: str,
    account: int,
    epoch: int,
    deployment: str,
    instrument: int,
    decision_ns: int,
    leg: str,
    revision: int,
) -> str:
    """Client id of an order: 4 hex digits of the install and 28 of a hash of what made it.

    `decision_ns` is the market time of the decision. No session and no fencing number is in it, so
    a desk that starts again makes the same id for the same decision, and the venue sees one order.
    `revision` counts replacements of one leg (a stop that grows).

    >>> client_id("0a1b", 1, 3, "mean_reversion-3f9c", 7, 1522800000000000000, "entry", 0)
    '0a1b15823237b8af7806646cd7f0734b'
    """
    return _install_checked(install) + _digest(account, epoch, deployment, instrument, decision_ns, leg, revision)


def manual_client_id(install: str, account: int, epoch: int, nonce: str) -> str:
    """Client id of a person's order, from the nonce that came with the form: a double click is one order."""
    if not nonce:
        raise ConfigurationError("nonce of a manual order is empty: it comes with its form and must be sent back")
    return _install_checked(install) + _digest(account, epoch, "manual", nonce)


def is_ours(venue_client_id: str, install: str) -> bool:
    """Whether an order at the venue carries our prefix; anything else is foreign and left alone."""
    has_form = len(venue_client_id) == CLIENT_ID_DIGITS and re.fullmatch(r"[0-9a-f]+", venue_client_id) is not None
    return has_form and venue_client_id.startswith(_install_checked(install))


def decision_id(deployment: str, instrument: int, bar_open_ns: int, revision: int) -> UUID:
    """Id of one call of a strategy: the same bar and revision give the same row, whoever computes it."""
    return UUID(hex=_digest("decision", deployment, instrument, bar_open_ns, revision, digits=32))


def _install_checked(install: str) -> str:
    if not _INSTALL.fullmatch(install):
        raise ConfigurationError(f"install prefix {install!r} must be {INSTALL_DIGITS} lower-case hex digits")
    return install


def _digest(*parts: int | str, digits: int = CLIENT_ID_DIGITS - INSTALL_DIGITS) -> str:
    # each part carries its type and length, so that no two lists of parts read the same
    text = b"".join(_tagged(part) for part in parts)
    return hashlib.blake2b(text, digest_size=digits // 2).hexdigest()


def _tagged(part: int | str) -> bytes:
    tag, body = ("i", str(part)) if isinstance(part, int) else ("s", part)
    raw = body.encode()
    return f"{tag}{len(raw)}:".encode() + raw
