"""Forms of sign-in and of a person's own settings."""

from zoneinfo import available_timezones

from django import forms

from apps.users.models import Theme


class PreferencesForm(forms.Form):
    """How pages look, and in which zone times are said."""

    theme = forms.ChoiceField(choices=Theme.choices, widget=forms.RadioSelect)
    time_zone = forms.ChoiceField(label="Time zone")

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        zones = sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/"))
        self.fields["time_zone"].choices = [("UTC", "UTC"), *((zone, zone.replace("_", " ")) for zone in zones)]
