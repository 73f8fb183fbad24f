"""The trading core: no Django, no network, no clock of its own."""
