"""Money at a venue: accounts and their credentials, sub-ledgers, cash, equity, adjustments."""

from django.db import models

from apps.common.fields import EncryptedTextField
from apps.market.models import Epoch, Instrument, Venue

MONEY = {"max_digits": 38, "decimal_places": 18, "default": 0}


class Account(models.Model):
    """Money at a venue in one epoch. Trading at a real venue is off until a person turns it on."""

    venue = models.ForeignKey(Venue, on_delete=models.PROTECT, related_name="accounts")
    epoch = models.ForeignKey(Epoch, on_delete=models.PROTECT, related_name="accounts")
    name = models.CharField(max_length=60)
    currency = models.CharField(max_length=12, default="USDT", help_text="What equity and limits are counted in.")
    is_live = models.BooleanField(default=False, help_text="Real money.")
    trading_enabled = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True, help_text="A desk runs it.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["venue", "epoch", "name"]
        constraints = [models.UniqueConstraint(fields=["venue", "epoch", "name"], name="account_name_per_epoch")]

    def __str__(self) -> str:
        return self.name


class Credential(models.Model):
    """An account's keys at its venue, encrypted at rest. They never leave the server again, not even masked."""

    account = models.OneToOneField(Account, on_delete=models.CASCADE, related_name="credential")
    api_key = EncryptedTextField()
    api_secret = EncryptedTextField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["account"]

    def __str__(self) -> str:
        return f"Keys of {self.account}"

    def __repr__(self) -> str:
        return f"<Credential of account {self.account_id}>"


class Position(models.Model):
    """A sub-ledger: what one owner holds of one instrument in one account. Their sum equals the venue's position.

    `owner` is a deployment's key, `manual` or `unattributed`.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="positions")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="+")
    owner = models.CharField(max_length=64)
    quantity = models.DecimalField(help_text="Signed: below zero is short.", **MONEY)
    average_price = models.DecimalField(**MONEY)
    realised = models.DecimalField(help_text="Realised profit before fees and funding, in quote.", **MONEY)
    fees = models.DecimalField(help_text="Paid, valued in quote.", **MONEY)
    funding = models.DecimalField(help_text="Received less paid, in quote.", **MONEY)
    opened_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["account", "instrument", "owner"]
        constraints = [
            models.UniqueConstraint(fields=["account", "instrument", "owner"], name="one_position_per_owner")
        ]


class CashBalance(models.Model):
    """Cash of one currency in an account, as booked from fills, fees and funding."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="balances")
    currency = models.CharField(max_length=12)
    amount = models.DecimalField(**MONEY)
    fees = models.DecimalField(help_text="Fees paid in this currency, already out of `amount`.", **MONEY)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["account", "currency"]
        constraints = [models.UniqueConstraint(fields=["account", "currency"], name="one_balance_per_currency")]


class EquitySnapshot(models.Model):
    """Equity of an account at a moment of the market clock."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="equity")
    market_at = models.DateTimeField()
    wall_at = models.DateTimeField()
    equity = models.DecimalField(**MONEY)
    cash = models.DecimalField(help_text="Cash in the account's currency.", **MONEY)
    realised = models.DecimalField(**MONEY)
    unrealised = models.DecimalField(**MONEY)
    fees = models.DecimalField(**MONEY)
    funding = models.DecimalField(**MONEY)
    gross = models.DecimalField(help_text="Gross exposure.", **MONEY)
    net = models.DecimalField(help_text="Net exposure.", **MONEY)
    margin = models.DecimalField(
        null=True, help_text="Initial margin that contracts bind; none while a mark or a leverage is unknown.", **MONEY
    )

    class Meta:
        ordering = ["account", "market_at"]
        constraints = [models.UniqueConstraint(fields=["account", "market_at"], name="one_equity_per_moment")]


class CashMovement(models.Model):
    """Cash that moved for another reason than a fill: opening balance, funding, deposit, adjustment."""

    class Kind(models.TextChoices):
        OPENING = "opening", "Opening balance"
        FUNDING = "funding", "Funding"
        TRANSFER = "transfer", "Transfer"
        ADJUSTMENT = "adjustment", "Adjustment"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="movements")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    venue_id = models.CharField(max_length=80, help_text="The venue's id, or ours where it has none; books it once.")
    instrument = models.ForeignKey(Instrument, null=True, on_delete=models.PROTECT, related_name="+")
    owner = models.CharField(max_length=64, blank=True)
    currency = models.CharField(max_length=12)
    amount = models.DecimalField(**MONEY)
    quantity = models.DecimalField(help_text="Adjustment of a position, in base.", **MONEY)
    cause = models.CharField(max_length=200, blank=True)
    market_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["account", "market_at"]
        constraints = [models.UniqueConstraint(fields=["account", "kind", "venue_id"], name="movement_booked_once")]
