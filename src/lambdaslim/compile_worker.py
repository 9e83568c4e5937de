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

UNCHECKED_HASH = b"\x01\x00\x00\x00"


def stable(code):  # type: ignore[no-untyped-def]
    """Marshal a code object to bytes that do not depend on what this process did before.

    The writer marks an object for sharing by its reference count (cpython#129724). A first dump
    in format 2 shares nothing, so the objects read back have the counts of a fresh process.
    """
    try:
        return marshal.dumps(marshal.loads(marshal.dumps(code, 2)))  # noqa: S302 - our own bytes
    except ValueError:
        # Slices in constants (3.14 on) need format 5.
        return marshal.dumps(marshal.loads(marshal.dumps(code)))  # noqa: S302 - our own bytes


def pyc(name, source, optimize):  # type: ignore[no-untyped-def]
    """Return an unchecked-hash pyc (PEP 552)."""
    code = compile(source, sys.intern(name), "exec", dont_inherit=True, optimize=optimize)
    digest = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + digest + stable(code)


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
