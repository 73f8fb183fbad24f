"""Encrypted fields: secrets at rest under a key in its own file of mode 600, which can be rotated."""

import base64
import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models
from django.forms import PasswordInput

from apps.common.errors import SecretUnreadable
from trader.runtime.keys import key_read

KEY_FILE = "credential.key"
PREFIX = "qd1:"  # tells ciphertext from text; the number names this scheme


class EncryptedTextField(models.TextField):
    """Text that is ciphertext in the database and in dumps, and plain only in this process.

    An empty text stays empty. Forms never show what is stored. Filtering by it finds nothing: each encryption differs.
    """

    description = "Text encrypted at rest"

    def get_prep_value(self, value: Any) -> Any:
        """Encrypt on the way to the database."""
        text = super().get_prep_value(value)
        return secret_encrypt(text) if text else text

    def from_db_value(self, value: str | None, *_: Any) -> str | None:
        """Decrypt on the way from the database. Raises `SecretUnreadable` without the right key."""
        return secret_decrypt(value) if value else value

    def value_to_string(self, obj: models.Model) -> str:
        """Give serialisers the ciphertext."""
        return str(self.get_prep_value(self.value_from_object(obj)) or "")

    def formfield(self, **kwargs: Any) -> Any:
        """Return a password input that never carries the stored value."""
        return super().formfield(**{"widget": PasswordInput(render_value=False), **kwargs})


def secret_encrypt(text: str) -> str:
    """Return the ciphertext under the newest key; the key file is made when there is none yet."""
    path = _key_path()
    if not path.exists():
        key_read(path.parent.parent, KEY_FILE)
    return PREFIX + _crypt(_keys(path)).encrypt(text.encode()).decode()


def secret_decrypt(stored: str) -> str:
    """Return the text of a ciphertext. Raises `SecretUnreadable` that says what is missing."""
    path = _key_path()
    if not path.exists():
        raise SecretUnreadable(
            f"The key file {path} is missing. Fix: bring it back from a backup, or enter secrets anew."
        )
    try:
        return _crypt(_keys(path)).decrypt(stored.removeprefix(PREFIX).encode()).decode()
    except InvalidToken:
        raise SecretUnreadable(
            f"A stored secret does not fit the keys in {path}. Fix: bring the old key back as a further line."
        ) from None


def secret_keys_rotate(reencrypt: "list[tuple[type[models.Model], str]]") -> int:
    """Put a new key before the old ones and encrypt these (model, field) anew; returns how many rows changed.

    Old keys stay readable until `secret_keys_forget`: a crash in between loses nothing.
    """
    path = _key_path()
    old = _keys(path) if path.exists() else ()
    _keys_write(path, [base64.urlsafe_b64encode(os.urandom(48)).decode(), *old])
    changed = 0
    for model, field in reencrypt:
        rows = list(model._default_manager.all())
        changed += len(rows)
        model._default_manager.bulk_update(rows, [field], batch_size=500)
    return changed


def secret_keys_forget() -> None:
    """Drop all keys but the newest: what was not encrypted anew can never be read again."""
    path = _key_path()
    _keys_write(path, list(_keys(path)[:1]))


def _key_path() -> Path:
    return Path(settings.STATE_DIR) / "keys" / KEY_FILE


def _keys(path: Path) -> tuple[str, ...]:
    return tuple(line.strip() for line in path.read_text().splitlines() if line.strip())


def _keys_write(path: Path, keys: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(keys) + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


@cache
def _crypt(keys: tuple[str, ...]) -> MultiFernet:
    """Return the cipher; each line of the file is a random text, which a hash brings to Fernet's size."""
    return MultiFernet([Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())) for key in keys])
