"""Compiles sources in the target's interpreter: reads jobs on stdin, answers on stdout.

This file is run as a script by CPython 3.8 to 3.15, so it is written for the oldest of them. Of
lambdaslim it loads one file, by its path: the package itself may be too new for the interpreter.

A job is two little-endian uint32 (bytes of the name, of the source), then both. An answer is one
byte (1 for bytecode, 0 for an error) and a uint32 (bytes), then a whole .pyc or a UTF-8 message.
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Canonical = Callable[[bytes, "tuple[int, int]"], bytes]

UNCHECKED_HASH = b"\x01\x00\x00\x00"
# Frames; about nine for each function within a function.
DEEP = 8_000


def load_canonical() -> Canonical:
    """Return the function `canonical` of the file beside this one."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "canonical.py")  # noqa: PTH100,PTH118,PTH120 - pathlib would take as long to import as all the rest
    loader = importlib.machinery.SourceFileLoader("canonical", path)
    module = types.ModuleType("canonical")
    loader.exec_module(module)
    canonical: Canonical = module.canonical
    return canonical


def pyc(name: str, source: bytes, optimize: int, canonical: Canonical) -> bytes:
    """Return an unchecked-hash pyc (PEP 552)."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=optimize)
    body = marshal.dumps(code)
    # After the compiler, which derives from this limit how deep a source may be.
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(DEEP)
    try:
        body = canonical(body, sys.version_info[:2])
    finally:
        sys.setrecursionlimit(limit)
    digest = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + digest + body


def main() -> None:
    """Answer jobs until stdin ends."""
    optimize = int(sys.argv[1])
    canonical = load_canonical()
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
            answer = b"\x01", pyc(name, source, optimize, canonical)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            message = f"{type(error).__name__}: {error}"
            answer = b"\x00", message.encode("utf-8", "backslashreplace")
        answers.write(answer[0] + struct.pack("<I", len(answer[1])) + answer[1])
        answers.flush()


if __name__ == "__main__":
    main()
