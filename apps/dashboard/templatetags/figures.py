"""Template filters and parts for figures, times and limits."""

from datetime import datetime
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.dashboard import formatting
from apps.dashboard.labels import labels
from apps.dashboard.modules import modules_behind
from apps.dashboard.selectors import owners_at_work

register = template.Library()
register.filter("number", formatting.number)
register.filter("signed", formatting.signed)
register.filter("plain", formatting.plain)
register.filter("share", formatting.share)
register.filter("tone", formatting.tone)
register.filter("arrow", formatting.arrow)
register.filter("words", formatting.words)
register.filter("moment", formatting.moment)
register.filter("decimals_of", formatting.decimals_of)
register.simple_tag(owners_at_work)


@register.filter
def get(mapping: Any, key: str) -> Any:
    """Return an entry whose name a template cannot write."""
    return mapping.get(key) if mapping else None


@register.filter
def price_decimals(instrument_id: int) -> int:
    """Return how many decimals the instrument's tick has; 2 while its terms are not known."""
    found = labels.get(instrument_id).price_decimals
    return 2 if found is None else found


@register.simple_tag
def clock(value: Any, form: str = "minute") -> SafeString | str:
    """Return a `<time>` in UTC, the same for everyone; the page's script turns it to the person's zone.

    `form` is minute, second or full.
    """
    at = value if isinstance(value, datetime) else formatting.moment(value)
    if at is None:
        return formatting.NONE
    shown = {"minute": "%H:%M", "second": "%H:%M:%S", "full": "%Y-%m-%d %H:%M:%S"}[form]
    return format_html(
        '<time datetime="{}" data-form="{}">{}</time>', f"{at:%Y-%m-%dT%H:%M:%S}Z", form, at.strftime(shown)
    )


@register.simple_tag
def modules(*names: str) -> SafeString:
    """Return a page's ES modules, with all that they import announced before them."""
    behind = dict.fromkeys(found for name in names for found in modules_behind(name))
    ahead = [static(found) for found in behind if found not in names]
    links = format_html_join("", '<link rel="modulepreload" href="{}">', ((address,) for address in ahead))
    scripts = format_html_join("", '<script type="module" src="{}"></script>', ((static(name),) for name in names))
    return links + scripts


@register.inclusion_tag("parts/_bar.html")
def limit_bar(at: Any, label: str, limit: float = 1.0) -> dict[str, Any]:
    """Draw how much of a limit is used: `at` is the share of the limit (1.0 = at the limit)."""
    used = formatting.decimal_of(at)
    value = None if used is None else float(used)
    shown = 0.0 if value is None else min(1.0, max(0.0, value)) * 100
    level = "past" if value is not None and value > 1 else "near" if value is not None and value >= 0.75 else "ok"
    return {"width": f"{shown:.1f}", "level": level, "label": label, "used": value, "tick": f"{limit * 100:.1f}"}
