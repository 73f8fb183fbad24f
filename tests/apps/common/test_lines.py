"""Lines are on disk whole or not at all, whatever the disk does and however the last process ended."""

import resource
from pathlib import Path

import pytest

from apps.common.lines import line_append


def test_a_line_that_a_crash_cut_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    line_append(path, b"first")
    with path.open("ab") as file:
        file.write(b"cut o")
    line_append(path, b"second")
    assert path.read_bytes() == b"first\nsecond\n"


def test_a_file_that_holds_nothing_but_a_cut_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"cut o")
    line_append(path, b"first")
    assert path.read_bytes() == b"first\n"


def test_a_disk_that_takes_a_part_only_is_told_and_leaves_no_part(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    line_append(path, b"first")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            line_append(path, b"longer than there is room for")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"first\n"
    line_append(path, b"second")
    assert path.read_bytes() == b"first\nsecond\n"
