"""Builds trees in memory as installers would fill them, and writes them to disk."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import marshal
import os
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from lambdaslim import Entry, Tree

Data = str | bytes
Files = Mapping[str, Data] | Iterable[str]
Mode = Literal["timestamp", "checked", "unchecked"]
Installer = Literal["pip", "uv"]

#: The running interpreter, as lambdaslim names it, and the tag of its cached bytecode.
PYTHON = "{}.{}".format(*sys.version_info[:2])
TAG = "cpython-{}{}".format(*sys.version_info[:2])
#: The date that `on_disk` gives to files, in whole seconds.
MTIME = 1_700_000_000

README = "# A package\n\nIt is described at great length.\n" * 50


def tree_from(*items: str | Entry | Mapping[str, Data] | Sequence[Entry]) -> Tree:
    """Return a tree of empty files (paths), files with contents (mappings) and entries."""
    return Tree(entry for item in items for entry in _entries(item))


def _entries(item: str | Entry | Mapping[str, Data] | Sequence[Entry]) -> Sequence[Entry]:
    if isinstance(item, str):
        return [Entry.of(item)]
    if isinstance(item, Entry):
        return [item]
    if isinstance(item, Mapping):
        return [Entry.of(path, data) for path, data in item.items()]
    return item


def dist(  # noqa: PLR0913 - every part of a distribution has a default
    name: str,
    version: str = "1.0",
    files: Files | None = None,
    *,
    requires: Iterable[str] = (),
    entry_points: str = "",
    top_level: str | None = None,
    installer: Installer = "pip",
    root: str = "",
    info: str | None = None,
) -> list[Entry]:
    """Return the files of an installed distribution with its whole `*.dist-info`.

    `files` (default: one package of that name) and the metadata come below the directory `root`;
    `info` is the name of the metadata directory where it is not the usual one.
    """
    module = name.replace("-", "_").lower()
    contents = _contents({f"{module}/__init__.py": ""} if files is None else files)
    info = info or f"{name.replace('-', '_')}-{version}.dist-info"
    texts = {
        "METADATA": metadata(name, version, requires),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "INSTALLER": f"{installer}\n" if installer == "pip" else installer,
        "REQUESTED": "",
        "direct_url.json": json.dumps({"url": "file:///home/me/wheel.whl", "archive_info": {}}),
        "licenses/LICENSE": "Do what you want.\n",
        "entry_points.txt": entry_points,
        "top_level.txt": module + "\n" if top_level is None else top_level,
        "uv_cache.json": '{"timestamp": 1}' if installer == "uv" else "",
    }
    optional = ("entry_points.txt", "top_level.txt", "uv_cache.json")
    written = {n: text.encode() for n, text in texts.items() if text or n not in optional}
    contents |= {f"{info}/{n}": text for n, text in written.items()}
    contents[f"{info}/RECORD"] = record(contents, f"{info}/RECORD")
    prefix = f"{root}/" if root else ""
    return [Entry.of(f"{prefix}{path}", data) for path, data in contents.items()]


def _contents(files: Files) -> dict[str, bytes]:
    named = files if isinstance(files, Mapping) else dict.fromkeys(files, "")
    return {p: data.encode() if isinstance(data, str) else data for p, data in named.items()}


def metadata(name: str, version: str, requires: Iterable[str] = (), body: str = README) -> str:
    """Return the text of a METADATA file."""
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {name}",
        f"Version: {version}",
        "Summary: A package for tests",
        "License-File: LICENSE",
        *(f"Requires-Dist: {requirement}" for requirement in requires),
        "Description-Content-Type: text/markdown",
    ]
    return "\n".join(lines) + f"\n\n{body}"


def record(contents: Mapping[str, bytes], own: str) -> bytes:
    """Return a RECORD of files, and of itself at the path `own`."""
    rows = [f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in contents.items()]
    return ("".join(rows) + f"{own},,\n").encode()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def without(entries: Iterable[Entry], *names: str) -> list[Entry]:
    """Return the entries but for those with one of the names."""
    return [entry for entry in entries if entry.name not in names]


def on_disk(tree: Tree, directory: Path, mtime: int = MTIME) -> Path:
    """Write a tree below `directory`, every file dated `mtime`, and return the directory."""
    for entry in tree.values():
        place = directory / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(entry.read())
        place.chmod(0o755 if entry.executable else 0o644)
        os.utime(place, (mtime, mtime))
    return directory


def cache_path(path: str, tag: str = TAG) -> str:
    """Return where the bytecode of a source is cached: `a/__pycache__/b.cpython-313.pyc`."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/__pycache__/".lstrip("/") + f"{name.removesuffix('.py')}.{tag}.pyc"


def pyc_of(
    source: Data,
    mode: Mode = "timestamp",
    *,
    name: str = "/home/builder/site-packages/module.py",
    mtime: int = MTIME,
) -> bytes:
    """Return a source's bytecode as the running interpreter would cache it."""
    data = source.encode() if isinstance(source, str) else source
    known = importlib.util.source_hash(data)
    tails = {
        "timestamp": struct.pack("<III", 0, mtime, len(data)),
        "unchecked": struct.pack("<I", 1) + known,
        "checked": struct.pack("<I", 3) + known,
    }
    code = compile(data, name, "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + tails[mode] + marshal.dumps(code)


def cached(path: str, source: Data, mode: Mode = "timestamp") -> dict[str, Data]:
    """Return a source and its cached bytecode."""
    return {path: source, cache_path(path): pyc_of(source, mode, name=f"/home/builder/{path}")}
