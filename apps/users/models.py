"""People, and what they may do."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class Role(models.TextChoices):
    """What a person may do; each role includes those before it."""

    VIEWER = "viewer", "Viewer: looks"
    ANNOTATOR = "annotator", "Annotator: labels"
    TRADER = "trader", "Trader: sessions, orders, kill switch"
    ADMIN = "admin", "Admin: everything"


class User(AbstractUser):
    """A person. The role decides; Django's staff flag only opens the admin."""

    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
