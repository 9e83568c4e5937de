"""Compresses native files while the passes still decide, since these leave a processor idle.

What comes of it lies in the cache, where the writer looks anyway: nothing but time depends on it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from lambdaslim.cache import Cache
from lambdaslim.compressors import Compressor
from lambdaslim.deflate import Job, is_kept, pack_entry
from lambdaslim.passes import Pass, StripElf
from lambdaslim.signs import TESTS
from lambdaslim.tree import Entry, Tree

# Bytes from which a file is worth it.
_LEAST = 64 * 1024
# Bytes for the file at work, as it was and as it becomes, and for the largest, at which a pass may
# be meanwhile.
_ROOM = 128 << 20


@contextmanager
def compressing(
    tree: Tree, passes: Iterable[Pass], compress: Compressor, cache: Cache
) -> Iterator[None]:
    """Fill `cache` in a thread with compressed native files of `tree`, as `passes` will leave them.

    Hardly a pass but `StripElf` changes these, and few remove one. The block's end stops it, but
    for the piece at work, for which nobody waits. Without a cache, or with a single processor,
    nothing happens.
    """
    stop = threading.Event()
    if cache and (os.cpu_count() or 1) > 1:
        strip = next((one for one in passes if isinstance(one, StripElf)), None)
        # The smallest first: the writer starts with the largest, so they do not meet.
        found = sorted(filter(_worth, tree.values()), key=lambda entry: entry.size)
        most = (_ROOM - found[-1].size) // 2 if found else 0
        found = [entry for entry in found if entry.size <= most]
        # Not waited for, even when the whole program ends.
        work = partial(_fill, found, strip, compress, cache, stop)
        threading.Thread(target=work, name="ahead", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _worth(entry: Entry) -> bool:
    native = entry.name.endswith(".so") or ".so." in entry.name
    # Most tests are removed.
    return native and entry.size >= _LEAST and TESTS.isdisjoint(entry.path.split("/"))


def _fill(
    entries: Sequence[Entry],
    strip: StripElf | None,
    compress: Compressor,
    cache: Cache,
    stop: threading.Event,
) -> None:
    def left(entry: Entry) -> Entry:
        return strip.stripped(entry) if strip else entry

    def until_stopped(jobs: Sequence[Job]) -> Iterator[bytes]:
        for job in jobs:
            if stop.is_set():
                raise _StoppedError
            yield job()

    try:
        # If an earlier run has compressed two of them, it has, most likely, all.
        probes = {0, len(entries) // 2} if entries else ()
        if probes and all(is_kept(left(entries[n]), compress, cache) for n in probes):
            return
        for entry in entries:
            if stop.is_set():
                return
            pack_entry(left(entry), compress, cache, until_stopped)
    except Exception:  # noqa: BLE001 - the passes or the writer meet it too, and report it
        return


class _StoppedError(Exception):
    """The passes have come to their end."""
