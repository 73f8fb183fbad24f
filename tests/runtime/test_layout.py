"""The state folder: what keeps it from being one is said with the fix, before anything is started in it."""

import pytest

from trader.runtime import layout
from trader.runtime.errors import StartError
from trader.runtime.layout import Layout


def test_a_full_disk_is_named_with_the_room_that_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "LEAST_FREE_BYTES", 1 << 60)
    with pytest.raises(
        StartError, match=r"disk of .* is full: \d+ MB are free, \d+ are needed.*\n.*QD_RUNTIME_STATE_DIR"
    ):
        Layout(tmp_path / "state").prepare()


def test_a_folder_that_cannot_be_written_is_named_with_the_fix():
    with pytest.raises(StartError, match=r"state folder /proc/1/state cannot be written.*\n.*Fix: "):
        Layout(layout.Path("/proc/1/state")).prepare()


def test_the_folder_is_the_persons_own(tmp_path):
    Layout(tmp_path / "state").prepare()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
