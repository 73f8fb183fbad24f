"""What must follow when a person signs out or is changed: their open sockets close, and come back by signing in."""

from typing import Any

from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import receiver

from apps.common.hub.core import hub_person_changed
from apps.users.models import User

MATTERS = {"role", "is_active", "password"}


@receiver(user_logged_out)
def sockets_close_on_sign_out(sender: Any, user: Any, **_: Any) -> None:
    """Close the sockets of someone who signed out."""
    if user is not None and user.pk is not None:
        hub_person_changed(user.pk)


@receiver(post_save, sender=User)
def sockets_close_on_change(instance: User, created: bool, update_fields: Any, **_: Any) -> None:
    """Close the sockets of someone whose role, password or permission to sign in may have changed."""
    if created or (update_fields is not None and not MATTERS & set(update_fields)):
        return
    key = instance.pk
    transaction.on_commit(lambda: hub_person_changed(key))
