"""The screen and a terminal that goes away: its window is closed while everything runs."""

import os
import pty
import sys

import pytest

from trader.runtime.layout import Layout
from trader.runtime.screen import Screen


@pytest.mark.parametrize("plain", [True, False])
def test_a_closed_terminal_keeps_nothing_from_being_stopped(tmp_path, monkeypatch, plain):
    ours, its = pty.openpty()
    terminal = os.fdopen(its, "w")
    monkeypatch.setattr(sys, "stdout", terminal)
    screen = Screen(plain=plain)
    screen.step("it stands")
    assert b"it stands" in os.read(ours, 1000)
    os.close(ours)
    with pytest.raises(OSError, match="Input/output error"):
        os.write(its, b"nobody reads this")
    screen.step("stopping")
    layout = Layout(tmp_path)
    layout.prepare()
    (layout.run / "resting-1.txt").write_text("resting at the venue\n")
    screen.stopped(layout, ["web"])
    screen.line("stopped")
    assert list(layout.run.glob("resting-*")) == []
    monkeypatch.undo()
    try:
        terminal.close()
    except OSError:  # what it never took
        pass
