"""Compiles sources in the target's interpreter: reads jobs on stdin, answers on stdout.

This file is run as a script by CPython 3.8 to 3.15 and imports nothing of lambdaslim, so it is
written for the oldest of them.

A job is two little-endian uint32 (bytes of the name, of the source), then both. An answer is one
byte (1 for bytecode, 0 for an error) and a uint32 (bytes), then a whole .pyc or a UTF-8 message.
"""

import importlib.util
import marshal
import struct
import sys
import types

UNCHECKED_HASH = b"\x01\x00\x00\x00"

# The constructor arguments of a code object that hold objects, by the version that renamed them.
if sys.version_info >= (3, 11):
    FIELDS = (
        "co_consts",
        "co_names",
        "co_filename",
        "co_name",
        "co_qualname",
        "co_linetable",
        "co_exceptiontable",
    )
else:
    FIELDS = (
        "co_consts",
        "co_names",
        "co_filename",
        "co_name",
        "co_varnames",
        "co_freevars",
        "co_cellvars",
        "co_code",
        "co_linetable" if sys.version_info >= (3, 10) else "co_lnotab",
    )


class Canonical:
    """Rebuilds code objects so that their marshalled bytes depend on nothing but their value.

    Marshal writes an object once and then refers to it, if it is the same object and has a
    reference count above one when it is written (cpython#129724): so the bytes tell what else the
    process has compiled or interned. Here equal objects become one object, and `seen` holds a
    reference to each, so everything is shared that can be. Strings are all interned, since marshal
    writes whether they are.
    """

    def __init__(self):  # type: ignore[no-untyped-def]
        self.seen = {}

    def __call__(self, value):  # type: ignore[no-untyped-def]
        """Return the one object that is equal to `value`, in type and sign too."""
        kind = type(value)
        if kind is types.CodeType:
            return value.replace(**{name: self(getattr(value, name)) for name in FIELDS})
        key = value
        if kind is str:
            value = sys.intern(value)
        elif kind is tuple:
            value = tuple([self(item) for item in value])
            key = tuple([id(item) for item in value])
        elif kind is frozenset:
            value = frozenset([self(item) for item in value])
            key = frozenset([id(item) for item in value])
        elif kind is float:
            key = struct.pack("<d", value)
        elif kind is complex:
            key = struct.pack("<dd", value.real, value.imag)
        elif kind not in (int, bytes):
            # None, booleans, Ellipsis: one object each. Slices (3.14 on): never shared.
            return value
        return self.seen.setdefault((kind, key), value)


def pyc(name, source, optimize):  # type: ignore[no-untyped-def]
    """Return an unchecked-hash pyc (PEP 552)."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=optimize)
    canonical = Canonical()
    code = canonical(code)
    digest = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + digest + marshal.dumps(code)


def main():  # type: ignore[no-untyped-def]
    """Answer jobs until stdin ends."""
    optimize = int(sys.argv[1])
    jobs, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        head = jobs.read(8)
        if not head:
            return
        name_size, source_size = struct.unpack("<II", head)
        name, source = jobs.read(name_size).decode("utf-8"), jobs.read(source_size)
        try:
            answer = b"\x01", pyc(name, source, optimize)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            message = "%s: %s" % (type(error).__name__, error)
            answer = b"\x00", message.encode("utf-8", "backslashreplace")
        answers.write(answer[0] + struct.pack("<I", len(answer[1])) + answer[1])
        answers.flush()


if __name__ == "__main__":
    main()
