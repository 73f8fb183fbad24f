"""Logs: JSON lines in a file per process, with the decision that follows a line."""

import json
import logging

import pytest
import structlog

from apps.common.logs import logs_configure


@pytest.fixture
def root_logger():
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    yield root
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = before
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_json_with_its_context(tmp_path, settings, root_logger):
    settings.STATE_DIR = tmp_path
    path = logs_configure("desk")
    assert path == tmp_path / "logs" / "desk.log"
    with structlog.contextvars.bound_contextvars(decision_id="d-1"):
        structlog.get_logger("apps.execution").info("order sent", client_id="abc")
        logging.getLogger("apps.execution").warning("plain %s", "line")
    first, second = lines(path)
    assert first["event"] == "order sent"
    assert (first["client_id"], first["decision_id"], first["process"]) == ("abc", "d-1", "desk")
    assert (second["event"], second["level"], second["decision_id"]) == ("plain line", "warning", "d-1")
    assert second["timestamp"].endswith("Z")


def test_an_error_is_written_with_its_trace(tmp_path, settings, root_logger):
    settings.STATE_DIR = tmp_path
    path = logs_configure("desk")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("x").exception("it failed")
    (line,) = lines(path)
    assert line["exception"][0]["exc_value"] == "broken"


def test_without_a_folder_it_says_so_and_uses_the_terminal(tmp_path, settings, root_logger, capsys):
    (tmp_path / "logs").write_text("a file where the folder should be")
    settings.STATE_DIR = tmp_path
    logs_configure("desk")
    logging.getLogger("x").warning("still here")
    shown = capsys.readouterr().err
    assert "cannot be written" in shown
    assert "still here" in shown


def test_a_forked_child_follows_its_parents_rotation(tmp_path, settings, root_logger):
    settings.STATE_DIR = tmp_path
    path = logs_configure("worker", rotates=False)
    logging.getLogger("x").warning("before")
    path.rename(path.with_suffix(".log.1"))
    logging.getLogger("x").warning("after")
    assert [line["event"] for line in lines(path)] == ["after"]


def test_a_trace_does_not_tell_what_the_frames_held(tmp_path, settings, root_logger, capsys):
    settings.STATE_DIR = tmp_path
    path = logs_configure("desk")

    def sign(api_secret):
        raise ValueError("the venue does not answer")

    try:
        sign("planted-secret-9f2c")
    except ValueError:
        structlog.get_logger("apps.execution").exception("signing failed")
    assert "the venue does not answer" in path.read_text()
    assert "planted-secret-9f2c" not in path.read_text() + capsys.readouterr().err
