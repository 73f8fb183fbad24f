from django.apps import AppConfig


class ScannersConfig(AppConfig):
    name = "apps.scanners"
    label = "scanners"
    default_auto_field = "django.db.models.BigAutoField"
