"""The reference of all settings, as a page made from their one declared list."""

from typing import Any

from trader.config.loader import settings_declared, variable_of
from trader.config.schema import ROOT

HEAD = """# Settings

Every process setting there is. A setting `leases.ttl_s` is set by `leases: {ttl_s: 10}` in a YAML or JSON file under
`.quarterdeck/config/`, or by the variable `QD_LEASES_TTL_S` in the environment or in `.env`; the environment wins.
`${NAME}` and `${NAME:default}` in a file are taken from the environment. Unknown or malformed settings stop the start.
`DATABASE_URL` and `REDIS_URL` are understood too: with them, nothing is embedded.
A change needs a restart; `manage.py status` shows a hash of what runs.

This page is written by `manage.py settings-page` from `trader/config/schema.py`.
"""


def page() -> str:
    """Return the page."""
    lines, section = [HEAD], ""
    for name, kind, default, text in settings_declared():
        if name.split(".")[0] != section:
            section = name.split(".")[0]
            lines.append(
                f"\n## {section}\n\n| setting | variable | type | default | what it does |\n|---|---|---|---|---|"
            )
        lines.append(f"| `{name}` | `{variable_of(name)}` | {kind} | {_shown(default)} | {text} |")
    return "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    text = str(default).replace(str(ROOT) + "/", "")
    return f"`{text}`" if text else "empty"
