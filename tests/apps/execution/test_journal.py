"""The local journal: on disk before it is acted on, kept until booked, whole after a crash in the middle of a line."""

import os
from pathlib import Path

from apps.execution.desk.journal import Journal


def test_what_was_written_is_there_after_a_restart_until_it_is_booked(tmp_path: Path) -> None:
    path = tmp_path / "journal" / "account-1.jsonl"
    journal = Journal(path)
    first = journal.add("cancel", "a", why="kill")
    journal.add("order", "b", row={"quantity": "1"})
    again = Journal(path)
    assert [entry["client_id"] for entry in again.waiting()] == ["a", "b"]
    again.booked([first])
    assert [entry["client_id"] for entry in Journal(path).waiting()] == ["b"]
    again.booked(again.waiting())
    assert not path.exists()


def test_a_line_cut_short_was_never_acted_on(tmp_path: Path) -> None:
    path = tmp_path / "account-1.jsonl"
    Journal(path).add("cancel", "a")
    with path.open("a") as file:
        file.write('{"kind": "order", "client')
    assert [entry["client_id"] for entry in Journal(path).waiting()] == ["a"]


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "account-1.jsonl"
    journal = Journal(path)
    first = journal.add("cancel", "a")
    assert path.stat().st_mode & 0o777 == 0o600
    journal.add("cancel", "b")
    before = os.umask(0o022)
    try:
        journal.booked([first])
    finally:
        os.umask(before)
    assert [entry["client_id"] for entry in Journal(path).waiting()] == ["b"]
    assert path.stat().st_mode & 0o777 == 0o600
