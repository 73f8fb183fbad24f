"""The fingerprint of compiled code: over whole files, every project file that a function reaches.

Following functions alone gave stale results twice (a constant, a call through a module), so what
counts is the file: its own imports, and theirs, as long as they lead to project files.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sysconfig
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

_FOREIGN = tuple(
    {str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


def reached_files(functions: Iterable[Callable[..., Any]]) -> list[Path]:
    """Every project file that the functions' files import, themselves included, sorted by module path."""
    waiting = [Path(inspect.getfile(function)).resolve() for function in functions]
    modules = {Path(inspect.getfile(function)).resolve(): str(function.__module__) for function in functions}
    seen: dict[Path, None] = {}
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen[path] = None
        for module, imported in _imports(path, modules.get(path, ""), path.stat().st_mtime_ns):
            modules.setdefault(imported, module)
            waiting.append(imported)
    return sorted(seen)


def sources_hash(functions: Iterable[Callable[..., Any]], *more: str) -> str:
    """64 hex digits over the whole text of every reached file, and over `more`; dates and folders do not count."""
    digest = hashlib.sha256()
    texts = sorted((path.name, path.read_bytes()) for path in reached_files(list(functions)))
    for name, text in texts:
        digest.update(f"{name}:{len(text)}:".encode())
        digest.update(text)
    for part in more:
        digest.update(f"|{len(part)}:{part}".encode())
    return digest.hexdigest()


@cache
def _imports(path: Path, module: str, _changed_ns: int) -> tuple[tuple[str, Path], ...]:
    tree = ast.parse(path.read_bytes())
    names = [name for node in ast.walk(tree) for name in _imported_names(node, module, path.name == "__init__.py")]
    found = ((name, _project_file(name)) for name in dict.fromkeys(names))
    return tuple((name, file) for name, file in found if file is not None)


def _imported_names(node: ast.AST, module: str, is_package: bool) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        up = module.split(".")[: len(module.split(".")) - node.level + (1 if is_package else 0)]
        base = ".".join([*up, *([base] if base else [])])
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


@cache
def _project_file(module: str) -> Path | None:
    top = module.partition(".")[0]
    if not top or (module != top and not _is_project(top)):
        return None  # looking further would import the foreign package
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
    if spec is None or not spec.origin or not spec.origin.endswith(".py") or not _is_project(top):
        return None
    return Path(spec.origin).resolve()


@cache
def _is_project(top: str) -> bool:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    places = [str(Path(place).resolve()) for place in (spec.submodule_search_locations or [spec.origin or ""])]
    return spec.origin not in ("built-in", "frozen") and not any(place.startswith(_FOREIGN) for place in places)
