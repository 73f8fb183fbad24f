from django.apps import AppConfig


class PortfolioConfig(AppConfig):
    name = "apps.portfolio"
    label = "portfolio"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Keep what is held collected, though it has left its universe: its exit and its stop need bars.

        A venue with accounts stays the market that they trade, and stays on while something is open in them.
        """
        from apps.market.selectors import register_kept, register_venue_bound, register_venue_open

        register_kept("apps.portfolio.selectors:instruments_held")
        register_venue_bound("apps.portfolio.selectors:accounts_words")
        register_venue_open("apps.portfolio.selectors:still_open_words")
