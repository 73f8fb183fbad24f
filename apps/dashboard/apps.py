"""The shell and its pages: tells the hub which topics a browser may follow, and how their rows look."""

from django.apps import AppConfig

STATES = ("quote", "bar", "book", "prints", "ticker", "clock", "account", "health.feed", "health.desk", "health.risk")
ROWS = {
    "signals": ("apps.dashboard.snapshots:signals", "apps.dashboard.rendering:signal_html"),
    "orders": ("apps.dashboard.snapshots:orders", "apps.dashboard.rendering:order_html"),
    "fills": ("apps.dashboard.snapshots:fills", "apps.dashboard.rendering:fill_html"),
    "positions": ("apps.dashboard.snapshots:positions", "apps.dashboard.rendering:position_html"),
    "refusals": ("apps.dashboard.snapshots:refusals", "apps.dashboard.rendering:refusal_html"),
}
# The page asks the server again for what these are about: their deltas carry no row.
NOTICES = ("kill", "sweeps", "halts", "limits", "reconciliations", "deployments", "universes", "commands")


class DashboardConfig(AppConfig):
    """Registers topics with the hub, downward and by dotted path."""

    name = "apps.dashboard"
    label = "dashboard"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what browsers may follow."""
        from django.contrib import admin

        from apps.common.hub.registry import register_topic

        admin.site.index_title = "What is set here"
        for name in STATES:
            register_topic(name, "state")
        for name, (snapshot, renderer) in ROWS.items():
            register_topic(name, "log", snapshot, renderer)
        for name in NOTICES:
            register_topic(name, "log", "apps.dashboard.snapshots:number_only")
