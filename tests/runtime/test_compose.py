"""The compose file and the image hold together: every command, path and setting in them exists. No engine is needed."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import time

import pytest
import yaml

from trader.config import load
from trader.config.schema import ROOT
from trader.runtime import process
from trader.runtime.errors import StartError
from trader.runtime.layout import Layout, json_write
from trader.runtime.process import NAMES, binding_refuse, program_of
from trader.runtime.stack import PREPARED

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("image") == "quarterdeck"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ASKED = re.compile(r"\$\{([A-Z_]+)(?::?[-?]([^}]*))?\}")


def environment_of(service, folder):
    """What a container of the service is given, with what compose asks a person for."""
    given = {"POSTGRES_PASSWORD": "abc"}
    filled = {
        name: ASKED.sub(lambda found: given.get(found[1]) or found[2], text)
        for name, text in service["environment"].items()
    }
    return filled | {"QD_RUNTIME_STATE_DIR": str(folder)}


def test_every_process_of_the_stack_is_a_service():
    assert set(SERVICES) == {"postgres", "valkey", "prepare", "proxy", *NAMES}
    assert set(OURS) == {"prepare", *NAMES}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_service_is_watched_and_reached_on_this_machine_only(name):
    service = SERVICES[name]
    if name != "prepare":
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert service["restart"] == "unless-stopped"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for volume in service.get("volumes", []):
        assert volume.split(":")[0] in COMPOSE["volumes"]
    for other, wish in service.get("depends_on", {}).items():
        assert wish["condition"] == ("service_completed_successfully" if other == "prepare" else "service_healthy")


@pytest.mark.parametrize("name", sorted(OURS))
def test_its_settings_are_known_and_lead_to_the_other_services(name, tmp_path):
    config = load(environment_of(OURS[name], tmp_path), root=tmp_path)
    assert config.runtime.database_url == "postgresql://quarterdeck:abc@postgres:5432/quarterdeck"
    assert config.runtime.redis_url == "redis://valkey:6379/0"
    assert OURS[name]["environment"]["QD_RUNTIME_STATE_DIR"] == "/state"
    assert {"postgres", "valkey"} < set(SERVICES)


@pytest.mark.parametrize("name", NAMES)
def test_its_command_runs_a_program_that_exists(name, tmp_path):
    service = OURS[name]
    assert service["command"] == ["python", "manage.py", "process", name]
    assert service["healthcheck"]["test"] == ["CMD", "python", "manage.py", "process", name, "--healthy"]
    Layout(tmp_path).prepare()
    market = {"kind": "synthetic", "seed": 7}
    json_write(tmp_path / "run" / PREPARED, {"simulator_state_dir": str(tmp_path / "x"), "market": market})
    program = program_of(load(environment_of(service, tmp_path), root=tmp_path), name)
    assert os.access(program.command[0], os.X_OK)
    if program.command[1] == "-m":
        assert importlib.util.find_spec(program.command[2]) is not None
    else:
        assert program.command[1:3] == [str(ROOT / "manage.py"), "simulate"]
    if service.get("ports"):  # what is published listens beyond the container's own loopback, on that port
        port = service["ports"][0].rsplit(":", 1)[1]
        assert "0.0.0.0" in program.command
        assert port in program.command
        assert port in re.search(r"^EXPOSE (.*)$", DOCKERFILE, re.M)[1].split()


def test_the_seed_is_given_what_it_takes():
    command = OURS["prepare"]["command"]
    assert command[:4] == ["python", "manage.py", "prepare", "--options"]
    options = json.loads(command[4])
    assert set(options) == {"market", "simulator", "web_url"}
    assert set(options["simulator"]) == {"rest_url", "socket_url", "control_url", "state_root"}
    assert options["simulator"]["rest_url"] == "http://simulator:8899"
    assert options["simulator"]["state_root"].startswith("/state/")


def test_the_image_holds_what_runs_and_nothing_secret_and_is_nobodys_root():
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", DOCKERFILE, re.M)
    assert len(stages) == 2
    assert all("3.11" in image for image, _ in stages)
    last = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
    user = re.search(r"^USER (\w+)$", last, re.M)[1]
    assert user not in ("root", "0")
    assert f"--no-create-home --shell /usr/sbin/nologin {user}" in last
    assert last.index("USER ") < last.index("CMD ")
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M) for word in line.split()[:-1]]
    assert {"manage.py", "requirements.txt", "trader", "apps", "celery_worker", "templates", "static"} <= set(copied)
    assert [name for name in copied if not (ROOT / name).exists()] == []
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == let_in  # nothing else: no .env, no .quarterdeck, no .git


def test_what_the_image_runs_by_default_exists():
    command = json.loads(re.search(r"^CMD (.*)$", DOCKERFILE, re.M)[1])
    assert command == OURS["web"]["command"]


def test_a_production_installation_passes_djangos_own_checks(tmp_path):
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith(("QD_", "DATABASE_URL", "REDIS_URL"))
    }
    environment |= environment_of(OURS["web"], tmp_path)
    command = [sys.executable, "-W", "ignore", "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "no issues" in result.stdout


def test_pages_beyond_loopback_without_a_proxy_are_refused(tmp_path):
    open_to_all = {"QD_RUNTIME_BIND_HOST": "0.0.0.0", "DATABASE_URL": "postgresql://x/y", "REDIS_URL": "redis://x"}
    with pytest.raises(StartError, match="QD_BEHIND_PROXY"):
        binding_refuse(load(open_to_all, root=tmp_path))
    with pytest.raises(StartError, match="DATABASE_URL and REDIS_URL"):
        program_of(load({"QD_RUNTIME_STATE_DIR": str(tmp_path)}, root=tmp_path), "worker-data")
    with pytest.raises(StartError, match="not prepared"):
        program_of(load({"QD_RUNTIME_STATE_DIR": str(tmp_path)}, root=tmp_path), "simulator")


def test_a_process_is_well_while_its_heart_beats(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("QD_RUNTIME_STATE_DIR", str(tmp_path))
    assert process.run(["worker-data", "--healthy"]) == 1
    alive = tmp_path / "run" / f"alive-worker-data-{os.uname().nodename}"
    alive.parent.mkdir()
    alive.touch()
    assert process.run(["worker-data", "--healthy"]) == 0
    os.utime(alive, (time.time() - 100,) * 2)
    assert process.run(["worker-data", "--healthy"]) == 1
    assert "stands still" in capsys.readouterr().out
    monkeypatch.setenv("QD_RUNTIME_WEB_PORT", "1")
    assert process.run(["web", "--healthy"]) == 1


def test_the_command_of_a_process_can_be_read_for_systemd(tmp_path):
    environment = os.environ | {"QD_RUNTIME_STATE_DIR": str(tmp_path), "QD_RUNTIME_WEB_PORT": "8123"}
    command = [sys.executable, "manage.py", "process", "web", "--print"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert "8123" in shlex.split(result.stdout)
