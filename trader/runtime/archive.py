"""A backup's one file: a tar whose first member is a manifest with the checksum of every other one."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from trader.runtime.errors import StartError

FORMAT = 1
MANIFEST = "manifest.json"
CHUNK = 1 << 20
MANIFEST_MAX = 16 << 20


@dataclass(frozen=True)
class Manifest:
    """What a backup holds, and what made it."""

    format: int
    made_at: str
    quarterdeck: str
    postgres: str
    migrations: list[str]
    files: dict[str, dict[str, Any]]  # name -> bytes, sha256


def archive_write(path: Path, staged: Path, about: dict[str, Any]) -> Manifest:
    """Put all files under `staged` into one file of mode 600; it is there whole, and on the disk, or not at all."""
    names = sorted(str(found.relative_to(staged)) for found in staged.rglob("*") if found.is_file())
    files = {name: {"bytes": (staged / name).stat().st_size, "sha256": _hash(staged / name)} for name in names}
    manifest = Manifest(format=FORMAT, files=files, **about)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            body = json.dumps(asdict(manifest), indent=1).encode()
            _add(tar, MANIFEST, io.BytesIO(body), len(body))
            for name in names:
                with (staged / name).open("rb") as member:
                    _add(tar, name, member, files[name]["bytes"])
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _folder_sync(path.parent)
    return manifest


def archive_read(path: Path) -> Manifest:
    """Return the manifest of a backup; say in words what is no backup, or one of a later version."""
    try:
        with tarfile.open(path, "r:") as tar:
            return _manifest(tar, path)
    except OSError as error:
        raise StartError(f"{path} cannot be read: {error.strerror}.", "give the path of a backup file.") from None
    except (tarfile.TarError, EOFError) as error:
        raise _broken(path, str(error)) from None


def archive_verify(path: Path) -> Manifest:
    """Read the whole file and compare every checksum; raise `StartError` that names what differs."""
    for _ in _members(path):
        pass
    return archive_read(path)


def archive_extract(path: Path, into: Path) -> Manifest:
    """Write every file under `into`, each of mode 600; what does not fit its checksum is refused by name."""
    for name, member in _members(path):
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in member:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    for folder in (into, *(found for found in into.rglob("*") if found.is_dir())):
        folder.chmod(0o700)
    return archive_read(path)


def _members(path: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield name and content of each file; the checksum is compared once the content has been read to its end."""
    manifest = archive_read(path)
    missing = set(manifest.files)
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                if info.name == MANIFEST:
                    continue
                wanted = manifest.files.get(info.name)
                source = tar.extractfile(info)
                if wanted is None or source is None or not _is_plain(info.name):
                    raise _broken(path, f"it holds {info.name!r}, which its manifest does not name")
                missing.discard(info.name)
                content = _checked(path, info.name, source, wanted)
                yield info.name, content
                for _ in content:  # what the caller did not read is read here, for the checksum
                    pass
    except (tarfile.TarError, EOFError) as error:
        raise _broken(path, str(error)) from None
    if missing:
        raise _broken(path, f"{sorted(missing)[0]} is missing")


def _checked(path: Path, name: str, source: IO[bytes], wanted: dict[str, Any]) -> Iterator[bytes]:
    found, length = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        found.update(chunk)
        length += len(chunk)
        yield chunk
    if length != wanted["bytes"] or found.hexdigest() != wanted["sha256"]:
        raise _broken(path, f"{name} does not fit its checksum")


def _manifest(tar: tarfile.TarFile, path: Path) -> Manifest:
    first = tar.next()
    source = tar.extractfile(first) if first is not None and first.name == MANIFEST else None
    if source is None:
        raise _broken(path, "its first member is no manifest")
    try:
        body = json.loads(source.read(MANIFEST_MAX))
        if body.get("format") != FORMAT:
            raise StartError(
                f"{path} is a backup of format {body.get('format')!r}; this version reads {FORMAT}.",
                "restore it with the version of Quarterdeck that made it.",
            )
        return Manifest(**body)
    except (ValueError, TypeError, AttributeError) as error:
        raise _broken(path, f"its manifest cannot be understood: {error}") from None


def _add(tar: tarfile.TarFile, name: str, source: IO[bytes], length: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = length, 0o600
    tar.addfile(info, source)


def _is_plain(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _broken(path: Path, why: str) -> StartError:
    return StartError(f"{path} is no whole backup: {why}.", "take another one; `manage.py backup` makes them.")
