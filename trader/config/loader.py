"""Reads the settings: defaults, then files, then `.env`, then the environment.

Files: every YAML or JSON file of `trader/config/` (shipped) and of `<state_dir>/config/` (the user's
overrides), each folder by name. `${NAME}` and `${NAME:default}` in them are taken from the environment.
"""

import difflib
import json
import os
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from trader.config.schema import ROOT, Config

SHIPPED = Path("trader") / "config"
SUFFIXES = (".yaml", ".yml", ".json")
PREFIX = "QD_"
NOT_SETTINGS = ("QD_CI", "QD_DATA", "QD_PROCESS")
NOT_SETTINGS_FROM = ("QD_TEST_", "QD_DRILL_")
ALIASES = {
    "DATABASE_URL": "runtime.database_url",
    "REDIS_URL": "runtime.redis_url",
    "QD_BEHIND_PROXY": "runtime.behind_proxy",
}
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::([^}]*))?\}")


class ConfigError(Exception):
    """A setting is unknown or malformed; the message names it and the fix."""


def load(environ: Mapping[str, str] | None = None, root: Path = ROOT, running: bool = True) -> Config:
    """Return the settings of this process, or raise `ConfigError` with the setting's name and the fix.

    `running`: take the addresses of servers that a running `up` embeds, where none are set.
    """
    env = {**_dotenv(root / ".env"), **(os.environ if environ is None else environ)}
    values: dict[str, dict[str, Any]] = {}
    origin: dict[str, str] = {}
    for path in _files(ROOT / SHIPPED):
        _merge(values, origin, _file(path, env), path.name)
    from_env = _environment(env)
    state_dir = Path(
        from_env.get("runtime.state_dir") or values.get("runtime", {}).get("state_dir") or root / ".quarterdeck"
    )
    for path in _files(state_dir / "config"):
        _merge(values, origin, _file(path, env), str(path))
    for key, text in (_running_stack(state_dir) if running else {}).items():
        values.setdefault("runtime", {}).setdefault(key, text)
    for key, text in from_env.items():
        section, name = key.split(".")
        values.setdefault(section, {})[name] = text
        origin[key] = "the environment or .env"
    return _validated(values, origin)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)


def settings_declared() -> list[tuple[str, str, Any, str]]:
    """Return every setting: dotted name, type in words, default, help."""
    rows = []
    for section, field in Config.model_fields.items():
        for name, inner in _section(field.annotation).model_fields.items():
            rows.append((f"{section}.{name}", _type_name(inner.annotation), inner.default, inner.description or ""))
    return rows


def variable_of(name: str) -> str:
    """Return the environment variable of a setting: `leases.ttl_s` is `QD_LEASES_TTL_S`."""
    return PREFIX + name.replace(".", "_").upper()


def _validated(values: dict[str, dict[str, Any]], origin: dict[str, str]) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines = [_in_words(problem, origin) for problem in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _in_words(problem: Any, origin: dict[str, str]) -> str:
    if not problem["loc"]:  # two settings that do not fit each other: the words name both and the fix
        return str(problem["msg"]).removeprefix("Value error, ")
    name = ".".join(str(part) for part in problem["loc"][:2])
    where = origin.get(name, origin.get(name.split(".")[0], "the settings"))
    if problem["type"] == "extra_forbidden":
        return f"Unknown setting `{name}` in {where}.{_nearest(name)}"
    return (
        f"Setting `{name}` in {where}: {problem['msg']} (it is {problem['input']!r}). "
        f"Fix: give it another value there, or set {variable_of(name)}."
    )


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, [row[0] for row in settings_declared()], n=1, cutoff=0.4)
    fix = f"Fix: did you mean `{close[0]}` ({variable_of(close[0])})?" if close else "Fix: remove it."
    return f" {fix} docs/reference/settings.md lists all."


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    known = {variable_of(row[0]): row[0] for row in settings_declared()} | ALIASES
    found: dict[str, str] = {}
    for variable, text in env.items():
        if variable in known and text != "":
            found[known[variable]] = _typed(known[variable], text)
        elif variable.startswith(PREFIX) and variable not in known and not _is_no_setting(variable):
            name = variable.removeprefix(PREFIX).lower().replace("_", ".", 1)
            raise ConfigError(f"Unknown setting {variable} in the environment or .env.{_nearest(name)}")
    return found


def _is_no_setting(variable: str) -> bool:
    return variable in NOT_SETTINGS or variable.startswith(NOT_SETTINGS_FROM)


def _typed(name: str, text: str) -> Any:
    section, field = name.split(".")
    annotation = _section(Config.model_fields[section].annotation).model_fields[field].annotation
    if typing.get_origin(annotation) is list:
        return [part.strip() for part in text.split(",") if part.strip()]
    if typing.get_origin(annotation) is dict:
        try:
            return json.loads(text)
        except ValueError:
            raise ConfigError(f"{variable_of(name)} must be JSON. Fix: e.g. '{{\"a\": 1}}'.") from None
    return text


def _merge(values: dict[str, dict[str, Any]], origin: dict[str, str], more: Any, where: str) -> None:
    if not isinstance(more, dict):
        raise ConfigError(f"{where} must hold sections (`leases:` …) with settings under them.")
    for section, settings in more.items():
        origin[str(section)] = where
        if not isinstance(settings, dict):
            raise ConfigError(
                f"Section `{section}` in {where} must hold settings, one a line. Fix: `{section}: {{name: value}}`."
            )
        for name, value in settings.items():
            values.setdefault(section, {})[name] = value
            origin[f"{section}.{name}"] = where


def _file(path: Path, env: Mapping[str, str]) -> Any:
    if not path.exists():
        return {}
    text = VARIABLE.sub(lambda match: _expand(match, env, path), path.read_text())
    try:
        return (json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)) or {}
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Fix: correct its syntax.") from None


def _expand(match: re.Match[str], env: Mapping[str, str], path: Path) -> str:
    value = env.get(match[1], match[2])
    if value is None:
        raise ConfigError(f"{path} needs the variable {match[1]}. Fix: set it, or write ${{{match[1]}:default}}.")
    return value


def _dotenv(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    found = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.strip().removeprefix("export ")
        if not line or line.startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not separator:
            raise ConfigError(f"{path}, line {number}: expected NAME=value. Fix: correct or remove it.")
        found[name.strip()] = value.strip().strip("'\"")
    return found


def _running_stack(state_dir: Path) -> dict[str, str]:
    """Return the addresses of embedded servers that `up` started, for commands in another shell."""
    path = state_dir / "run" / "servers.json"
    try:
        written = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {key: written[key] for key in ("database_url", "redis_url") if written.get(key)}


def _section(annotation: Any) -> type[BaseModel]:
    return typing.cast(type[BaseModel], annotation)


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(annotation))
    if typing.get_origin(annotation) is not None:
        return str(annotation).replace("typing.", "")
    return str(getattr(annotation, "__name__", annotation))
