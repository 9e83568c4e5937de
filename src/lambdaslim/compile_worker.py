"""Makes something of sources in the target's interpreter: jobs on stdin, answers on stdout.

This file is run as a script by CPython 3.8 to 3.15, so it is written for the oldest of them. Of
lambdaslim it loads three files, by their path: the package itself may be too new for the
interpreter.

A job is two little-endian uint32 (bytes of the name, of the source), then both. An answer is one
byte (1 for a result, 0 for none) and a uint32 (bytes), then a whole .pyc or source, or a UTF-8
message.
"""

from __future__ import annotations

import gc
import importlib.machinery
import importlib.util
import marshal
import os
import struct
import sys
import types
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Spell = Callable[[types.CodeType], bytes]
    Make = Callable[[str, bytes], bytes]

UNCHECKED_HASH = b"\x01\x00\x00\x00"
# Frames; about nine for each function within a function.
DEEP = 8_000


def load(name: str) -> types.ModuleType:
    """Return a module of the file of this name beside this one."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")  # noqa: PTH100,PTH118,PTH120 - pathlib would take as long to import as all the rest
    loader = importlib.machinery.SourceFileLoader(name, path)
    module = types.ModuleType(name)
    loader.exec_module(module)
    return module


def speller() -> Spell:
    """Return what gives a code object its one spelling: quickly, or else in the way that reads."""
    spelling, canonical = load("spelling"), load("canonical")

    def spell(code: types.CodeType) -> bytes:
        try:
            return spelling.spelled(code)  # type: ignore[no-any-return]
        except spelling.UnknownCodeError:
            return canonical.canonical(marshal.dumps(code), sys.version_info[:2])  # type: ignore[no-any-return]

    return spell


def pyc(name: str, source: bytes, optimize: int, spell: Spell) -> bytes:
    """Return an unchecked-hash pyc (PEP 552)."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=optimize)
    # After the compiler, which derives from this limit how deep a source may be.
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(DEEP)
    try:
        body = spell(code)
    finally:
        sys.setrecursionlimit(limit)
    digest = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + digest + body


def task(name: str) -> Make:
    """Return what to make of sources: by a level of optimisation bytecode, else other sources."""
    if name.isdigit():
        return partial(pyc, optimize=int(name), spell=speller())
    stripped = load("docstrings").stripped
    return lambda _, source: stripped(source, name == "everywhere")


def main() -> None:
    """Answer jobs until stdin ends."""
    make = task(sys.argv[1])
    # Nothing here makes cycles that are worth looking for.
    gc.disable()
    jobs, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        head = jobs.read(8)
        if not head:
            return
        name_size, source_size = struct.unpack("<II", head)
        name, source = jobs.read(name_size).decode("utf-8"), jobs.read(source_size)
        try:
            answer = b"\x01", make(name, source)
        # Among the first are those of sources that are to stay as they are.
        except (ValueError, SyntaxError, RecursionError, MemoryError, OverflowError) as error:
            message = f"{type(error).__name__}: {error}"
            answer = b"\x00", message.encode("utf-8", "backslashreplace")
        answers.write(answer[0] + struct.pack("<I", len(answer[1])) + answer[1])
        answers.flush()


if __name__ == "__main__":
    main()
