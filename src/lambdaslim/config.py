"""Reads `[tool.lambdaslim]` of a pyproject.toml, and completes the options of the command by it."""

from __future__ import annotations

import argparse
import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lambdaslim.errors import ConfigError

#: What a key holds; lists come before those of the command line, anything else gives way to it.
KEYS: Mapping[str, type] = {
    "runtime": str,
    "arch": str,
    "preset": str,
    "keep": list,
    "drop": list,
    "skip": list,
    "services": list,
    "locales": list,
    "allow": list,
    "strict": bool,
    "bytecode": str,
    "optimize": int,
    "upload": str,
    "compression": str,
}
_DEFAULTS = {
    "arch": "x86_64",
    "preset": "safe",
    "strict": False,
    "bytecode": "legacy",
    "optimize": 0,
    "upload": "direct",
    "compression": "zlib",
}
_NAMES = {str: "a string", list: "a list of strings", bool: "true or false", int: "a number"}


def load(path: Path) -> dict[str, Any]:
    """Return the table `[tool.lambdaslim]` of a file, {} if it has none.

    Raises:
        ConfigError: the file cannot be read, or has an unknown key or a value of another type.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise ConfigError(what, where=str(path), fix="name a pyproject.toml") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"is no TOML: {error}", where=str(path), fix="mend it") from error
    tool = document.get("tool", {})
    table = tool.get("lambdaslim", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        fix = "write [tool.lambdaslim]"
        raise ConfigError("tool.lambdaslim is no table", where=str(path), fix=fix)
    for key, value in table.items():
        _check(key, value, path)
    return table


def _check(key: str, value: object, path: Path) -> None:
    where = f"{path}, [tool.lambdaslim]"
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.5)
        fix = f"did you mean {near[0]}?" if near else f"choose from {', '.join(KEYS)}"
        raise ConfigError(f"{key} is no option", where=where, fix=fix)
    kind = KEYS[key]
    strings = not isinstance(value, list) or all(isinstance(one, str) for one in value)
    # True is a number to Python.
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool) or not strings:
        raise ConfigError(f"{key} is not {_NAMES[kind]}", where=where, fix=f"write {_NAMES[kind]}")


def complete(given: argparse.Namespace) -> None:
    """Fill in the options that the command line leaves open, from the file and the defaults.

    The file is `given.config`, or else the pyproject.toml of the working directory, if there is
    one. `given` has the attributes of `KEYS`, None where the command line says nothing.

    Raises:
        ConfigError: as `load` does.
    """
    if given.config is not None:
        table = load(Path(given.config))
    else:
        here = Path("pyproject.toml")
        table = load(here) if here.is_file() else {}
    for key, kind in KEYS.items():
        if not hasattr(given, key):
            continue
        own = getattr(given, key)
        if kind is list:
            setattr(given, key, [*table.get(key, []), *(own or [])])
        elif own is None:
            setattr(given, key, table.get(key, _DEFAULTS.get(key)))
