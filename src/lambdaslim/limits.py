"""Lambda's quotas on packages, and the check against them.

The numbers are those of AWS's quota page and of its own error messages (seen 2026-11).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lambdaslim.distributions import Distributions
from lambdaslim.errors import UsageError
from lambdaslim.findings import Finding
from lambdaslim.tree import Tree
from lambdaslim.weigh import weigh

#: Unzipped bytes of a function; at the limit it is rejected.
UNZIPPED = 262_144_000
#: Zipped bytes of a direct upload; at the limit it is rejected. An upload through S3 has none.
ZIPPED = 52_428_800
#: Layers of a function.
LAYERS = 5
#: Bytes of a name in a directory, and of a whole path, on Linux; the path starts at /var/task.
LONGEST_NAME = 255
LONGEST_PATH = 4_096 - len("/var/task/") - 1

Upload = Literal["direct", "s3"]

_UNZIPPED_WORDS = "Unzipped size must be smaller than 262144000 bytes"
_COMBINED_WORDS = (
    "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes."
)
_ZIPPED_WORDS = "Zipped size must be smaller than 52428800 bytes"
_NAMED = 5
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10)}


@dataclass(frozen=True, slots=True)
class Headroom:
    """What is left under each limit, in bytes; negative when over. `zipped` is None if unknown."""

    unzipped: int
    zipped: int | None


def headroom(unzipped: int, zipped: int | None = None, layers: Sequence[Tree] = ()) -> Headroom:
    """Return the bytes left for a package of these sizes beside these layers."""
    used = unzipped + sum(layer.size for layer in layers)
    return Headroom(UNZIPPED - used, None if zipped is None else ZIPPED - zipped)


def check(  # noqa: PLR0913 - what to check against, by keyword
    tree: Tree,
    *,
    zipped: int | None = None,
    layers: Sequence[Tree] = (),
    upload: Upload = "direct",
    distributions: Distributions | None = None,
    compressed: Mapping[str, int] | None = None,
) -> tuple[Finding, ...]:
    """Return what stands against deploying a package; nothing means that it fits.

    Args:
        tree: the package's files.
        zipped: bytes of its zip, if there is one.
        layers: the files of each layer of the function.
        upload: "direct" counts the limit on the zip, "s3" does not.
        distributions: who owns what, to name the heaviest (read from the tree by default).
        compressed: bytes that each file takes in the zip, to name what is heaviest there.

    Raises:
        UsageError: another value of `upload`.
    """
    check_upload(upload)
    findings = []
    for one in _sizes(tree, zipped if upload == "direct" else None, layers):
        sizes = compressed if one.code == "limit-zipped" else None
        heaviest = _heaviest(tree, distributions, layers, sizes)
        findings.append(Finding(one.code, f"{one.message} {heaviest}.", one.path))
    return (*findings, *_count(layers), *_names(tree))


def _heaviest(
    tree: Tree,
    distributions: Distributions | None,
    layers: Sequence[Tree],
    compressed: Mapping[str, int] | None,
) -> str:
    """Name the heaviest distributions: those of the zip, or of the package and of its layers."""
    found = [(one.size, one.name) for one in weigh(tree, distributions, compressed)]
    if compressed is None:
        for number, layer in enumerate(layers, 1):
            found += [(one.size, f"{one.name} in layer {number}") for one in weigh(layer)]
    ranked = sorted(found, key=lambda one: (-one[0], one[1]))[:_NAMED]
    where = "unzipped" if compressed is None else "in the zip"
    return f"Heaviest {where}: " + ", ".join(f"{name} {size:,}" for size, name in ranked)


def check_upload(upload: str) -> None:
    """Raise `UsageError` unless `upload` is "direct" or "s3"."""
    if upload not in ("direct", "s3"):
        raise UsageError("is no way to upload", where=upload, fix="choose direct or s3")


def _sizes(tree: Tree, zipped: int | None, layers: Sequence[Tree]) -> Iterator[Finding]:
    total = tree.size + sum(layer.size for layer in layers)
    if tree.size >= UNZIPPED:
        yield Finding("limit-unzipped", _over("unzipped", tree.size, UNZIPPED, _UNZIPPED_WORDS))
    elif layers and total > UNZIPPED:
        what = "with its layers"
        yield Finding("limit-combined", _over(what, total, UNZIPPED, _COMBINED_WORDS))
    if zipped is not None and zipped >= ZIPPED:
        message = _over("zipped", zipped, ZIPPED, _ZIPPED_WORDS)
        yield Finding("limit-zipped", f"{message} (An upload through S3 has no such limit.)")


def _over(what: str, size: int, limit: int, words: str) -> str:
    return (
        f"The package is {size:,} bytes {what}, {size - limit:,} over the limit of {limit:,}. "
        f"AWS would say: {words!r}."
    )


def _count(layers: Sequence[Tree]) -> Iterator[Finding]:
    if len(layers) > LAYERS:
        yield Finding("limit-layer-count", f"{len(layers)} layers; a function can have {LAYERS}.")


def _names(tree: Tree) -> Iterator[Finding]:
    folded: dict[str, str] = {}
    for path in sorted({*tree, *tree.directories}):
        other = folded.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
        if other != path:
            message = f"{other} and {path} are one file on systems that fold case or Unicode"
            yield Finding("name-case-clash", message, path)
        name = path.rpartition("/")[2]
        if name.partition(".")[0].casefold() in _RESERVED or name.endswith((".", " ")):
            yield Finding("name-reserved", f"Windows cannot extract {path}", path)
        if len(name.encode()) > LONGEST_NAME or len(path.encode()) > LONGEST_PATH:
            message = f"{path[:100]}... is longer than {LONGEST_NAME} bytes a name or "
            message += f"{LONGEST_PATH:,} a path, the most that Lambda's file system holds"
            yield Finding("name-too-long", message, path)
