"""What the market writes into the audit trail: the fields of a row before and after."""

from typing import Any

from django.db.models import Model
from django.forms.models import model_to_dict

from apps.common.audit import audit_write


def audited(by: str, action: str, target: str, before: Model | None, after: Model | None, reason: str = "") -> None:
    """Write one entry, inside the caller's transaction."""
    audit_write(actor=by, action=action, target=target, before=_fields(before), after=_fields(after), reason=reason)


def _fields(row: Model | None) -> dict[str, Any] | None:
    if row is None:
        return None
    plain = model_to_dict(row, fields=[field.name for field in row._meta.concrete_fields])
    return {name: value if isinstance(value, int | bool | None) else str(value) for name, value in plain.items()}
