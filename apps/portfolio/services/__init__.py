"""Writes of the portfolio: accounts and keys, and the books that a desk keeps."""

from apps.portfolio.services.accounts import (
    AccountRefused,
    account_check,
    account_for_epoch,
    account_save,
    credential_remove,
    credential_set,
    register_condition,
)
from apps.portfolio.services.books import (
    cash_put,
    equity_put,
    ledger_transfer,
    movements_add,
    positions_put,
)

__all__ = [
    "AccountRefused",
    "account_check",
    "account_for_epoch",
    "account_save",
    "cash_put",
    "credential_remove",
    "credential_set",
    "equity_put",
    "ledger_transfer",
    "movements_add",
    "positions_put",
    "register_condition",
]
