"""Settings: one declared list; unknown or malformed ones stop the start with the name and the fix."""

import pytest

from trader.config import loader
from trader.config.loader import ConfigError, load, settings_declared, variable_of


def test_the_environment_wins_over_files(tmp_path):
    (tmp_path / ".quarterdeck" / "config").mkdir(parents=True)
    (tmp_path / ".quarterdeck" / "config" / "mine.yaml").write_text("leases: {ttl_s: 4, renew_s: 0.5}\n")
    config = load({"QD_LEASES_TTL_S": "6"}, root=tmp_path)
    assert (config.leases.ttl_s, config.leases.renew_s) == (6.0, 0.5)


def test_every_file_beside_the_shipped_one_is_read_by_name_and_a_wrong_one_stops_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "ROOT", tmp_path)
    folder = tmp_path / "trader" / "config"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("leases: {ttl_s: 4, renew_s: 0.5}\n")
    (folder / "b.json").write_text('{"leases": {"ttl_s": 6}}')
    config = load({}, root=tmp_path)
    assert (config.leases.ttl_s, config.leases.renew_s) == (6.0, 0.5)
    (folder / "c.yaml").write_text("leases: {ttl: 4}\n")
    with pytest.raises(ConfigError, match=r"Unknown setting `leases\.ttl` in c\.yaml.*Fix"):
        load({}, root=tmp_path)


def test_dotenv_is_read_and_the_environment_wins_over_it(tmp_path):
    (tmp_path / ".env").write_text("# mine\nexport QD_LEASES_TTL_S='5'\nQD_RUNTIME_WEB_PORT=9000\n")
    config = load({"QD_RUNTIME_WEB_PORT": "9001"}, root=tmp_path)
    assert (config.leases.ttl_s, config.runtime.web_port) == (5.0, 9001)


def test_a_variable_in_a_file_is_expanded_with_its_default(tmp_path):
    folder = tmp_path / ".quarterdeck" / "config"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text('{"leases": {"ttl_s": ${MY_TTL:7}}}')
    assert load({}, root=tmp_path).leases.ttl_s == 7.0
    assert load({"MY_TTL": "8"}, root=tmp_path).leases.ttl_s == 8.0


def test_a_missing_variable_without_default_names_file_and_fix(tmp_path):
    folder = tmp_path / ".quarterdeck" / "config"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("leases: {ttl_s: ${MY_TTL}}")
    with pytest.raises(ConfigError, match=r"a\.yaml needs the variable MY_TTL.*Fix"):
        load({}, root=tmp_path)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"QD_LEASE_TTL_S": "3"}, r"QD_LEASE_TTL_S.*did you mean `leases\.ttl_s`"),
        ({"QD_LEASES_TTL_S": "soon"}, r"`leases\.ttl_s`.*'soon'.*Fix.*QD_LEASES_TTL_S"),
        ({"QD_RUNTIME_WEB_PORT": "70000"}, r"`runtime\.web_port`.*65535"),
        ({"QD_DATABASE_URL": "x"}, r"Unknown setting QD_DATABASE_URL"),
        ({"QD_CIRCUS": "1"}, r"Unknown setting QD_CIRCUS"),
        ({"QD_PROCESSES": "1"}, r"Unknown setting QD_PROCESSES"),
        ({"QD_RUNTIME_WEB_SERVER": "apache"}, r"`runtime\.web_server`.*daphne"),
    ],
)
def test_wrong_variables_are_refused_with_name_and_fix(environ, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        load(environ, root=tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("leases: {ttl: 3}", r"Unknown setting `leases\.ttl` in .*mine\.yaml.*did you mean `leases\.ttl_s`"),
        ("leases: 3", r"Section `leases`.*must hold settings"),
        ("- 1", "must hold sections"),
        ("leases: {ttl_s: [}", "cannot be read"),
    ],
)
def test_wrong_files_are_refused_with_name_and_fix(text, words, tmp_path):
    folder = tmp_path / ".quarterdeck" / "config"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load({}, root=tmp_path)


def test_a_malformed_line_of_dotenv_is_named(tmp_path):
    (tmp_path / ".env").write_text("QD_LEASES_TTL_S\n")
    with pytest.raises(ConfigError, match="line 1: expected NAME=value"):
        load({}, root=tmp_path)


def test_a_list_is_given_with_commas(tmp_path):
    assert load({"QD_RUNTIME_ALLOWED_HOSTS": "a.example, b.example"}, root=tmp_path).runtime.allowed_hosts == [
        "a.example",
        "b.example",
    ]


def test_database_url_is_an_alias(tmp_path):
    assert load({"DATABASE_URL": "postgresql://x"}, root=tmp_path).runtime.database_url == "postgresql://x"


def test_addresses_of_a_running_stack_are_found_unless_others_are_set(tmp_path):
    run = tmp_path / ".quarterdeck" / "run"
    run.mkdir(parents=True)
    (run / "servers.json").write_text('{"database_url": "postgresql://embedded", "redis_url": "unix://embedded"}')
    assert load({}, root=tmp_path).runtime.database_url == "postgresql://embedded"
    assert load({}, root=tmp_path, running=False).runtime.database_url == ""
    assert load({"REDIS_URL": "redis://mine"}, root=tmp_path).runtime.redis_url == "redis://mine"


def test_variables_are_unique():
    names = [variable_of(row[0]) for row in settings_declared()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"QD_LEASES_STOP_MARGIN_S": "1"}, r"`leases\.stop_margin_s`.*QD_LEASES_STOP_MARGIN_S to 1\.5 or more"),
        ({"QD_EXECUTION_RECV_WINDOW_MS": "5000"}, r"`leases\.stop_margin_s`.*to 5\.5 or more.*RECV_WINDOW_MS"),
        ({"QD_LEASES_RENEW_S": "6.5"}, r"`leases\.renew_s`.*QD_LEASES_RENEW_S below 6\.5"),
        ({"QD_LEASES_TTL_S": "4"}, r"`leases\.renew_s`.*below 1\.5.*QD_LEASES_TTL_S"),
    ],
)
def test_a_lease_that_a_request_could_outlive_is_refused_with_name_and_fix(environ, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        load(environ, root=tmp_path)
