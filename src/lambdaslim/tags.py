"""Judges wheel tags (PEP 425) against a target: for which Python, system and machine a wheel is.

How new a C library a `manylinux` tag asks for is left out: what the files need says it exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from lambdaslim.target import Target

_VERSION = re.compile(r"(?P<kind>py|cp)(?P<major>\d)(?P<minor>\d*)$")
_LINUX = re.compile(r"(?:linux|manylinux(?:1|2010|2014|_\d+_\d+))_(?P<machine>\w+)$")


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag of a wheel, like `cp311-abi3-manylinux_2_17_x86_64`."""

    python: str
    abi: str
    platform: str

    def fits_python(self, target: Target) -> bool:
        """Tell whether the target's interpreter takes it."""
        match = _VERSION.match(self.python)
        if match is None or int(match["major"]) != target.python[0]:
            return False
        minor = int(match["minor"] or 0)
        if match["kind"] == "py" or self.abi == "abi3":
            return minor <= target.python[1]
        own = "cp{}{}".format(*target.python)
        return self.python == own and self.abi in ("none", own)

    def fits_platform(self, target: Target) -> bool:
        """Tell whether the target's system and machine take it, whatever its C library is."""
        match = _LINUX.match(self.platform)
        return self.platform == "any" or (match is not None and match["machine"] == target.machine)


def parse(tags: Iterable[str]) -> Iterator[Tag]:
    """Yield the tags of WHEEL lines; one line may stand for several (`py2.py3-none-any`)."""
    for line in tags:
        parts = line.split("-")
        if len(parts) == 3:  # noqa: PLR2004 - python, abi and platform
            yield from (Tag(*one) for one in product(*(part.split(".") for part in parts)))
