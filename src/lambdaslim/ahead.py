"""Compresses large files while the passes still decide, since these leave a processor idle.

What comes of it lies in the cache, where the writer looks anyway: nothing but time depends on it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from lambdaslim.cache import Cache
from lambdaslim.compressors import Compressor
from lambdaslim.deflate import pack_entry
from lambdaslim.passes import Pass, StripElf
from lambdaslim.signs import TESTS
from lambdaslim.tree import Entry, Tree

# Bytes from which a file is worth it, and above which it would take too much memory beside the one
# that a pass is at.
_LEAST, _MOST = 64 * 1024, 8 << 20


@contextmanager
def compressing(
    tree: Tree, passes: Iterable[Pass], compress: Compressor, cache: Cache
) -> Iterator[None]:
    """Fill `cache` in a thread with compressed native files of `tree`, as `passes` will leave them.

    Hardly a pass but `StripElf` changes these, and few remove one. The block's end stops it, but
    for the file at work, for which nobody waits. Without a cache, or with a single processor,
    nothing happens.
    """
    stop = threading.Event()
    if cache and (os.cpu_count() or 1) > 1:
        strip = next((one for one in passes if isinstance(one, StripElf)), None)
        # The smallest first: the writer starts with the largest, so they do not meet.
        found = sorted(filter(_worth, tree.values()), key=lambda entry: entry.size)
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
    return native and _LEAST <= entry.size <= _MOST and TESTS.isdisjoint(entry.path.split("/"))


def _fill(
    entries: Iterable[Entry],
    strip: StripElf | None,
    compress: Compressor,
    cache: Cache,
    stop: threading.Event,
) -> None:
    for entry in entries:
        if stop.is_set():
            return
        try:
            pack_entry(strip.stripped(entry) if strip else entry, compress, cache)
        except Exception:  # noqa: BLE001 - the passes or the writer meet it too, and report it
            return
