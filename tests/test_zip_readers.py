"""A panel of independent zip readers: none may complain, and all must see exactly the tree.

Each reader forgives other mistakes than the next one, so what they all read alike without a word
is read alike by Lambda too. `read_with` is the panel as a function, for other tests.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import stat
import subprocess
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from lambdaslim.archive import write_zip
from lambdaslim.tree import Entry, Tree
from malformed_zips import MALFORMED, TEXT, WELL_FORMED, Part, noise, zip_of

# Names in messages are compared, so every tool has to speak UTF-8 and English; no user's settings.
ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}
JAVA_SOURCE = Path(__file__).parent / "readers" / "ReadZip.java"


class ComplaintError(AssertionError):
    """A reader refused a zip or warned about it."""


@dataclass(frozen=True)
class Seen:
    """What a reader made of one file; `executable` is None where it does not restore modes."""

    sha256: str
    executable: bool | None = None


Sight = dict[str, Seen]
# What zipfile raises by itself.
ZIPFILE_ERRORS = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError)


def run(*command: str | Path) -> str:
    """Return what a command prints; raise `ComplaintError` if it fails or says an error."""
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        encoding="utf-8",
        env=ENVIRONMENT,
        umask=0o022,
        timeout=300,
    )
    if done.returncode or done.stderr:
        raise ComplaintError(f"{command[0]}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def extracted(directory: Path, *, modes: bool) -> Sight:
    """Return the files below `directory`; refuse what is neither file nor directory."""
    found: Sight = {}
    for location in sorted(directory.rglob("*")):
        status = location.lstat()
        if stat.S_ISDIR(status.st_mode):
            continue
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode) or (modes and mode not in {0o644, 0o755}):
            raise ComplaintError(f"{location}: mode {status.st_mode:o}")
        sha256 = hashlib.sha256(location.read_bytes()).hexdigest()
        path = location.relative_to(directory).as_posix()
        found[path] = Seen(sha256, mode == 0o755 if modes else None)
    return found


def with_unzip(location: Path, scratch: Path) -> Sight:
    """Info-ZIP; it tests every CRC and restores modes."""
    # So quiet, it prints only what is wrong.
    if said := run("unzip", "-tqq", location) + run("unzip", "-qq", location, "-d", scratch):
        raise ComplaintError(f"unzip: {said}")
    return extracted(scratch, modes=True)


def seven_zip() -> str:
    return "7zz" if shutil.which("7zz") else "7z"


def with_7z(location: Path, scratch: Path) -> Sight:
    """7-Zip, which tells about headers that disagree and about bytes around the archive."""
    for words in (("t",), ("x", "-y", f"-o{scratch}")):
        said = run(seven_zip(), *words, location)
        if "\nEverything is Ok\n" not in said or re.search("(?im)^warnings?:", said):
            raise ComplaintError(f"7z: {said}")
    return extracted(scratch, modes=False)


def with_bsdtar(location: Path, scratch: Path) -> Sight:
    """Libarchive; it lists the same names that it extracts, and restores modes."""
    listed = run("bsdtar", "-tf", location).splitlines()
    run("bsdtar", "-xpf", location, "-C", scratch)
    found = extracted(scratch, modes=True)
    if sorted(listed) != sorted(found):
        raise ComplaintError(f"bsdtar lists {listed} and extracts {sorted(found)}")
    return found


def with_java(location: Path, scratch: Path) -> Sight:  # noqa: ARG001 - it extracts nothing
    """Java's ZipInputStream, which never looks at the central directory."""
    lines = run("java", JAVA_SOURCE, location).splitlines()
    found = {path: Seen(sha256) for sha256, path in (line.split(" ", 1) for line in lines)}
    if len(found) != len(lines):
        raise ComplaintError("java reads a name twice")
    return found


def with_zipfile(location: Path, scratch: Path) -> Sight:
    """Python's own reader, whose extraction ignores modes: they are compared as it reports them."""
    with warnings.catch_warnings(), zipfile.ZipFile(location) as archive:
        warnings.simplefilter("error")
        if archive.testzip() is not None:
            raise ComplaintError(f"zipfile: {archive.testzip()} is damaged")
        archive.extractall(scratch)
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    if not set(modes.values()) <= {0o100644, 0o100755}:
        raise ComplaintError(f"zipfile: modes {modes}")
    found = extracted(scratch, modes=False)
    return {path: Seen(seen.sha256, modes[path] == 0o100755) for path, seen in found.items()}


Reader = Callable[[Path, Path], Sight]
#: Each reader, and the commands of which it needs one.
READERS: Mapping[str, tuple[Reader, tuple[str, ...]]] = {
    "unzip": (with_unzip, ("unzip",)),
    "7z": (with_7z, ("7zz", "7z")),
    "bsdtar": (with_bsdtar, ("bsdtar",)),
    "java": (with_java, ("java",)),
    "zipfile": (with_zipfile, ()),
}


@functools.cache
def why_missing(name: str) -> str | None:
    """Return why a reader cannot be asked here, or None."""
    commands = READERS[name][1]
    if commands and not any(map(shutil.which, commands)):
        return f"{' or '.join(commands)} is not installed"
    # A runtime without compiler cannot run a source file.
    if name == "java" and "jdk.compiler" not in run("java", "--list-modules"):
        return "this java has no compiler (install a JDK)"
    return None


def read_with(name: str, location: Path, scratch: Path) -> Sight:
    """Return what the reader sees; `scratch` is an empty directory. Skip if it is missing."""
    reason = why_missing(name)
    if reason is not None:
        pytest.skip(reason)
    return READERS[name][0](location, scratch)


def assert_seen(sight: Sight, tree: Tree) -> None:
    """Compare what a reader saw with the tree: paths, contents, and modes if it tells them."""
    assert sorted(sight) == list(tree)
    for path, seen in sight.items():
        assert seen.sha256 == hashlib.sha256(tree[path].read()).hexdigest(), path
        assert seen.executable in (None, tree[path].executable), path


def tree_of(parts: tuple[Part, ...]) -> Tree:
    return Tree(
        Entry.of(part.raw_name.decode(), part.data, executable=part.executable) for part in parts
    )


# One of each kind of file that a package may hold.
PANEL = Tree(
    [
        Entry.of("bin/run", "#!/bin/sh\n", executable=True),
        Entry.of("empty"),
        Entry.of("empty.sh", executable=True),
        Entry.of("lib/noise.so", noise(3 << 20), executable=True),
        Entry.of("lib/text.txt", TEXT * 100_000),
        Entry.of("lib/zeros.bin", bytes(5 << 20)),
        Entry.of("inner.zip", zip_of(*WELL_FORMED["nested"])),
        Entry.of("a/" * 60 + "deep.py", "deep = True\n"),
        Entry.of("x" * 200 + ".py", "long = True\n"),
        Entry.of("a b.txt", "space"),
        Entry.of("a#'$&;*.txt", "shell"),
        Entry.of("-rf", "option"),
        Entry.of(".hidden/.dot", "dots"),
        Entry.of("warnings.py", "a name that no search for warnings may trip over"),
        Entry.of("name", "prefix of others"),
        Entry.of("name-1.dist-info/METADATA", "Name: name\n"),
        Entry.of("name.py", "prefix"),
        Entry.of("\xe4\xf6/\xfc.txt", "latin"),
        Entry.of("\u65e5\u672c\u8a9e/\u30d5\u30a1", "wide"),
        Entry.of("\U0001f40d.py", "beyond the basic plane"),
        *(Entry.of(f"many/m{number:03}.py", f"n = {number}\n") for number in range(300)),
    ]
)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    directory = tmp_path / "scratch"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def panel_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a zip of `PANEL` by lambdaslim's own writer."""
    location = tmp_path_factory.mktemp("panel") / "panel.zip"
    write_zip(PANEL, location)
    return location


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_sees_the_tree_in_what_lambdaslim_wrote(
    reader: str, panel_zip: Path, scratch: Path
) -> None:
    assert_seen(read_with(reader, panel_zip, scratch), PANEL)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", WELL_FORMED)
def test_every_reader_accepts_the_zips_made_by_hand(
    name: str, reader: str, tmp_path: Path, scratch: Path
) -> None:
    """The layout itself is good, whoever writes it."""
    (tmp_path / "hand.zip").write_bytes(zip_of(*WELL_FORMED[name]))
    assert_seen(read_with(reader, tmp_path / "hand.zip", scratch), tree_of(WELL_FORMED[name]))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["crc-wrong", "deflate-noise", "encrypted", "method-lzma"])
def test_every_reader_complains_when_there_is_reason_to(
    name: str, reader: str, tmp_path: Path, scratch: Path
) -> None:
    """A panel that never complains would prove nothing."""
    (tmp_path / "bad.zip").write_bytes(MALFORMED[name].make())
    with pytest.raises((ComplaintError, *ZIPFILE_ERRORS)):
        read_with(reader, tmp_path / "bad.zip", scratch)


@pytest.mark.parametrize("difference", ["path", "content", "mode", "missing"])
def test_a_difference_from_the_tree_is_noticed(difference: str) -> None:
    digest = hashlib.sha256(TEXT).hexdigest()
    sights: Mapping[str, Sight] = {
        "path": {"A": Seen(digest)},
        "content": {"a": Seen("0" * 64)},
        "mode": {"a": Seen(digest, executable=True)},
        "missing": {},
    }
    tree = Tree([Entry.of("a", TEXT)])
    assert_seen({"a": Seen(digest, executable=False)}, tree)
    with pytest.raises(AssertionError):
        assert_seen(sights[difference], tree)
