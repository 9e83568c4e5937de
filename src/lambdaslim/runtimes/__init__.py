"""What each managed Lambda runtime is and provides: one data file per runtime, read on demand.

The files are written by `scripts/build_runtimes.py` from `scripts/runtimes.json`, where every row
carries its source and the date it was observed. Nothing here is guessed: a version that nobody
observed is `None`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from lambdaslim.errors import DataError, TargetError


@dataclass(frozen=True, slots=True)
class Provided:
    """A distribution that a runtime ships.

    Attributes:
        distribution: its normalised name (PEP 503).
        version: the version observed, or None when only its presence was.
        unit: distributions that only work together share a unit ("sdk"); None means that AWS
            documents nothing about it, so it is never dropped.
        modules: its import packages and modules.
        observed: when the row was observed (ISO date, month or year), or None when inferred.
        confidence: how it was observed.
        source: where.
    """

    distribution: str
    version: str | None
    unit: str | None
    modules: tuple[str, ...]
    observed: str | None
    confidence: str
    source: str


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library that somebody found, or missed, in a runtime.

    Attributes:
        name: what files need it by, like "libz.so.1".
        present: whether the runtime has it. What no row names is unknown.
        observed: when it was observed (ISO date), or None when inferred.
        source: where.
    """

    name: str
    present: bool
    observed: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Runtime:
    """A managed runtime: its identifier, interpreter, system, and provided distributions.

    `glibc` is the (major, minor) of the system's C library; `magic` is the magic number of its
    interpreter's bytecode; `provided` is sorted by distribution; `libraries` are the shared
    libraries of the system whose presence or absence is known, sorted by name.
    """

    name: str
    python: tuple[int, int]
    magic: int
    operating_system: str
    glibc: tuple[int, int]
    architectures: tuple[str, ...]
    deprecation: str | None
    status: str
    search_path: tuple[str, ...]
    provided: tuple[Provided, ...]
    libraries: tuple[Library, ...]
    notes: tuple[str, ...]


@cache
def names() -> tuple[str, ...]:
    """Return the identifiers of the bundled runtimes, oldest first."""
    found = (item.name.removesuffix(".json") for item in files(__name__).iterdir())
    known = [name for name in found if name.startswith("python3.")]
    return tuple(sorted(known, key=lambda name: int(name.partition(".")[2])))


@cache
def load(name: str) -> Runtime:
    """Return a runtime by identifier ("python3.13").

    Raises:
        TargetError: no such runtime is bundled.
        DataError: its data file does not fit the schema.
    """
    if name not in names():
        raise TargetError(
            "is not a Lambda runtime that lambdaslim knows",
            where=name,
            fix=f"choose one of {', '.join(names())}",
        )
    text = (files(__name__) / f"{name}.json").read_text(encoding="utf-8")
    try:
        return _parse(name, json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"does not fit the schema of a runtime: {error!r}",
            where=f"runtimes/{name}.json",
            fix="regenerate it with scripts/build_runtimes.py",
        ) from error


def _parse(name: str, row: dict[str, Any]) -> Runtime:
    major, minor = (int(part) for part in name.removeprefix("python").split("."))
    glibc_major, glibc_minor = (int(part) for part in row["glibc"].split("."))
    return Runtime(
        name=name,
        python=(major, minor),
        magic=int(row["magic"]),
        operating_system=str(row["operating_system"]),
        glibc=(glibc_major, glibc_minor),
        architectures=tuple(row["architectures"]),
        deprecation=row["deprecation"],
        status=str(row["status"]),
        search_path=tuple(row["search_path"]),
        provided=tuple(
            Provided(**{**item, "modules": tuple(item["modules"])}) for item in row["provided"]
        ),
        libraries=tuple(Library(**item) for item in row["libraries"]),
        notes=tuple(row["notes"]),
    )
