"""Outputs appear whole and verified, or not at all, and depend on nothing but the tree.

"Row N" is the row of the catalogue of cases that a test covers.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

import disk
from disk import below, leftovers, populate, populate_deep, posix_only, snapshot
from lambdaslim import (
    Entry,
    Package,
    SlimError,
    Tree,
    passes,
    scan,
    slim,
    staging,
    write_dir,
    write_zip,
)
from lambdaslim import archive as archive_module
from lambdaslim import package as package_module
from lambdaslim.archive import measure_zip, zip_size
from lambdaslim.compressors import compressor
from lambdaslim.errors import ArchiveError, OutputError
from lambdaslim.staging import remove_tree, staged_directory, staged_file
from lambdaslim.strictzip import read_back

OLD = b"the old output"


@pytest.fixture
def tree() -> Tree:
    noise = random.Random(1).randbytes(100_000)  # noqa: S311 - incompressible, not secret
    return Tree(
        [
            Entry.of("pkg/a.py", "a = 1\n" * 100),
            Entry.of("pkg/ü.py", "ü = 1\n"),
            Entry.of("pkg/empty.py"),
            Entry.of("bin/run", "#!/bin/sh\n", executable=True),
            Entry.of("pkg/noise.so", noise),
        ]
    )


def refused(action: Callable[[], object]) -> OutputError:
    with pytest.raises(OutputError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return caught.value


class Unread:
    """Content that only has a size."""

    def read(self) -> NoReturn:
        pytest.fail("was read")


# What is written


def test_the_zip_is_what_the_package_says(tree: Tree, tmp_path: Path) -> None:
    package = write_zip(tree, tmp_path / "out.zip")
    data = (tmp_path / "out.zip").read_bytes()
    digest = hashlib.sha256(data)
    assert package.path == tmp_path / "out.zip"
    assert package.zipped == len(data)
    assert package.sha256 == digest.hexdigest()
    assert package.code_sha256 == base64.b64encode(digest.digest()).decode()
    assert (package.files, package.unzipped) == (5, tree.size)


def test_the_zip_read_back_is_the_tree(tree: Tree, tmp_path: Path) -> None:
    package = write_zip(tree, tmp_path / "out.zip")
    found = read_back(tmp_path / "out.zip")
    assert found.content_digest == package.content_digest == tree.digest()
    assert [member.path for member in found.members] == list(tree)
    assert {m.path: m.compressed for m in found.members} == package.compressed
    assert [m.executable for m in found.members] == [e.executable for e in tree.values()]


def test_the_size_of_a_zip_follows_from_the_compressed_sizes(tree: Tree, tmp_path: Path) -> None:
    package = write_zip(tree, tmp_path / "out.zip")
    assert zip_size(package.compressed) == package.zipped == (tmp_path / "out.zip").stat().st_size
    assert zip_size({}) == 22


def test_a_zip_measured_is_the_zip_written(tree: Tree, tmp_path: Path) -> None:
    measured = measure_zip(tree)
    written = write_zip(tree, tmp_path / "out.zip")
    assert measured.path is None
    assert (measured.sha256, measured.zipped) == (written.sha256, written.zipped)
    assert measured.compressed == written.compressed
    assert os.listdir(tmp_path) == ["out.zip"]  # noqa: PTH208 - names


def test_what_does_not_shrink_is_stored(tree: Tree, tmp_path: Path) -> None:
    write_zip(tree, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        methods = {member.filename: member.compress_type for member in archive.infolist()}
    assert methods["pkg/noise.so"] == methods["pkg/empty.py"] == zipfile.ZIP_STORED
    assert methods["pkg/a.py"] == zipfile.ZIP_DEFLATED


@pytest.mark.parametrize("workers", [1, 2, 8, None])
def test_the_bytes_do_not_depend_on_the_workers(tree: Tree, workers: int | None) -> None:
    many = Tree([*tree.values(), *(Entry.of(f"m/{n}", bytes([n]) * 50_000) for n in range(99))])
    assert measure_zip(many, workers=workers).sha256 == measure_zip(many, workers=3).sha256


@pytest.mark.parametrize("spec", ["zlib:0", "zlib:1", "zlib:9", "libdeflate", "max", "ultra"])
def test_the_content_digest_does_not_depend_on_the_compressor(tree: Tree, spec: str) -> None:
    package = measure_zip(tree, compression=spec)
    assert package.content_digest == tree.digest()
    if spec.startswith("zlib"):  # others may spell this tree alike
        assert (package.sha256 == measure_zip(tree).sha256) is (spec == "zlib:9")
    assert package.compressor == compressor(spec).name


def test_the_order_of_the_entries_does_not_matter(tree: Tree) -> None:
    assert measure_zip(Tree([*tree.values()][::-1])).sha256 == measure_zip(tree).sha256


WRITE = """
import os, sys
os.umask(int(sys.argv[3], 8))
from lambdaslim import scan, write_zip
print(write_zip(scan(sys.argv[1]), sys.argv[2]).sha256)
"""


@posix_only
@pytest.mark.parametrize(
    ("umask", "env"),
    [
        ("022", {}),
        ("077", {"TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "1"}),
        ("000", {"TZ": "America/Los_Angeles", "PYTHONHASHSEED": "12345"}),
        ("027", {"LC_ALL": "C", "LANG": "C"}),
        ("027", {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "HOME": "/nonexistent"}),
        ("022", {"SOURCE_DATE_EPOCH": "1700000000", "TMPDIR": "/nonexistent"}),
    ],
)
def test_the_bytes_depend_on_the_tree_only(
    tree: Tree, tmp_path: Path, umask: str, env: dict[str, str]
) -> None:
    """Rows 25 and 26: not on dates, modes, order in the directory, host path, user's settings."""
    names = list(tree)
    random.Random(umask).shuffle(names)  # noqa: S311 - any order will do
    source = tmp_path / f"a place {umask}" / "source"
    for number, name in enumerate(names):
        populate(source, {name: tree[name].read()})
        (source / name).chmod(0o711 if tree[name].executable else 0o640)
        os.utime(source / name, (number * 10**8, number * 10**8))
    answer = disk.run_python(WRITE, source, "out.zip", umask, env=env, cwd=tmp_path)
    assert answer.stdout.strip() == measure_zip(tree).sha256, answer.stderr
    assert scan(source).digest() == tree.digest()


@posix_only
def test_the_zip_has_the_mode_of_any_new_file(tree: Tree, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_zip(tree, tmp_path / "out.zip")
    finally:
        os.umask(before)
    assert (tmp_path / "out.zip").stat().st_mode & 0o777 == 0o640


def test_a_directory_is_the_tree(tree: Tree, tmp_path: Path) -> None:
    package = write_dir(tree, tmp_path / "out")
    assert scan(tmp_path / "out").digest() == tree.digest() == package.content_digest
    assert (package.path, package.files, package.unzipped) == (tmp_path / "out", 5, tree.size)
    assert (package.zipped, package.sha256, package.code_sha256) == (None, None, None)
    assert os.listdir(tmp_path) == ["out"]  # noqa: PTH208 - names


@posix_only
@pytest.mark.parametrize("umask", [0, 0o077])
def test_the_modes_in_a_directory_do_not_depend_on_the_umask(
    tree: Tree, tmp_path: Path, umask: int
) -> None:
    """Row 26: Lambda's user must be able to read them."""
    before = os.umask(umask)
    try:
        write_dir(tree, tmp_path / "out")
    finally:
        os.umask(before)
    places = [tmp_path / "out", *(tmp_path / "out").rglob("*")]
    modes = {str(place.relative_to(tmp_path)): place.stat().st_mode & 0o7777 for place in places}
    assert modes.pop("out/bin/run") == 0o755
    assert {mode for name, mode in modes.items() if (tmp_path / name).is_dir()} == {0o755}
    assert {mode for name, mode in modes.items() if (tmp_path / name).is_file()} == {0o644}


# What cannot be written


@pytest.mark.parametrize("write", [write_zip, write_dir])
def test_an_empty_tree_is_refused(write: Callable[..., Package], tmp_path: Path) -> None:
    """Row 38."""
    assert "no file is left" in refused(lambda: write(Tree(), tmp_path / "out")).what
    assert not any(tmp_path.iterdir())
    refused(lambda: measure_zip(Tree()))


def test_a_zip_of_65534_files_is_the_largest_without_zip64(tmp_path: Path) -> None:
    """Row 21."""
    entries = [Entry.of(f"{n:x}") for n in range(65_535)]
    assert "65,535 files need ZIP64" in refused(lambda: write_zip(Tree(entries), "out.zip")).what
    package = write_zip(Tree(entries[1:]), tmp_path / "out.zip")
    assert package.files == len(read_back(tmp_path / "out.zip").members) == 65_534


@pytest.mark.parametrize("size", [0xFFFF_FFFF, 1 << 32, 1 << 40])
def test_a_file_of_4_gib_is_refused_by_its_size(tmp_path: Path, size: int) -> None:
    """Row 22: it is not read."""
    tree = Tree([Entry("pkg/big.bin", size, executable=False, content=Unread())])
    assert "pkg/big.bin" in refused(lambda: write_zip(tree, tmp_path / "out.zip")).what
    assert not any(tmp_path.iterdir())


def test_the_largest_file_that_a_zip_can_name_is_not_refused_by_its_size() -> None:
    """Row 22."""
    tree = Tree([Entry("pkg/big.bin", 0xFFFF_FFFE, executable=False, content=Unread())])
    with pytest.raises(pytest.fail.Exception, match="was read"):
        measure_zip(tree)


@pytest.mark.parametrize("place", [".", "..", "/"])
def test_a_directory_that_has_no_name_of_its_own_is_one_of_our_errors_or_written(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """`--to .` in an empty directory is a fair wish."""
    (tmp_path / "here/below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here/below")
    if place == ".":
        assert write_dir(tree, place).files == 5
        assert scan(tmp_path / "here/below").digest() == tree.digest()
    else:
        refused(lambda: write_dir(tree, place))
        assert [p.name for p in (tmp_path / "here").rglob("*")] == ["below"]


def test_a_directory_in_the_way_of_a_zip_is_refused(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "out.zip").mkdir()
    assert refused(lambda: write_zip(tree, tmp_path / "out.zip")).what == "is a directory"
    assert os.listdir(tmp_path) == ["out.zip"]  # noqa: PTH208 - names


@pytest.mark.parametrize("write", [write_zip, write_dir])
def test_a_missing_parent_is_refused(
    tree: Tree, write: Callable[..., Package], tmp_path: Path
) -> None:
    error = refused(lambda: write(tree, tmp_path / "missing/out"))
    assert "No such file or directory" in error.what
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("write", [write_zip, write_dir])
def test_a_file_as_parent_is_refused(
    tree: Tree, write: Callable[..., Package], tmp_path: Path
) -> None:
    populate(tmp_path, {"file": OLD})
    refused(lambda: write(tree, tmp_path / "file/out"))
    assert (tmp_path / "file").read_bytes() == OLD


@posix_only
@pytest.mark.parametrize("write", [write_zip, write_dir])
def test_an_output_whose_name_is_too_long_is_refused(
    tree: Tree, write: Callable[..., Package], tmp_path: Path
) -> None:
    """Row 19: its temporary has the longer name."""
    assert write(tree, tmp_path / ("o" * 230)).files == 5
    assert "too long" in refused(lambda: write(tree, tmp_path / ("p" * 256))).what
    assert os.listdir(tmp_path) == ["o" * 230]  # noqa: PTH208 - names


@posix_only
@pytest.mark.parametrize("write", [write_zip, write_dir])
def test_a_read_only_parent_is_refused(write: Callable[..., Package]) -> None:
    code = f"""
import sys
from lambdaslim import Entry, SlimError, Tree, {write.__name__}
{disk.UNPRIVILEGED}
try:
    {write.__name__}(Tree([Entry.of("a")]), sys.argv[1] + "/out")
except SlimError as error:
    print(type(error).__name__, error)
"""
    with disk.public_directory() as place:
        place.chmod(0o555)
        answer = disk.run_python(code, place)
        assert answer.stdout.startswith(f"OutputError {place}/out: cannot be written: Permission")
        assert not any(place.iterdir())
        place.chmod(0o755)


def test_a_directory_that_holds_files_is_refused(tree: Tree, tmp_path: Path) -> None:
    populate(tmp_path / "out", {"mine.txt": OLD})
    before = snapshot(tmp_path / "out")
    assert "holds files" in refused(lambda: write_dir(tree, tmp_path / "out")).what
    assert snapshot(tmp_path / "out") == before
    assert os.listdir(tmp_path) == ["out"]  # noqa: PTH208 - names


def test_a_directory_that_holds_files_is_replaced_on_request(tree: Tree, tmp_path: Path) -> None:
    populate(tmp_path / "out", {"mine.txt": OLD})
    write_dir(tree, tmp_path / "out", overwrite=True)
    assert scan(tmp_path / "out").digest() == tree.digest()
    assert os.listdir(tmp_path) == ["out"]  # noqa: PTH208 - names


def test_an_empty_directory_is_filled(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_dir(tree, tmp_path / "out")
    assert scan(tmp_path / "out").digest() == tree.digest()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_the_way_of_a_directory_is_refused(
    tree: Tree, tmp_path: Path, *, overwrite: bool
) -> None:
    populate(tmp_path, {"out": OLD})
    error = refused(lambda: write_dir(tree, tmp_path / "out", overwrite=overwrite))
    assert error.what == "is not a directory"
    assert (tmp_path / "out").read_bytes() == OLD
    assert os.listdir(tmp_path) == ["out"]  # noqa: PTH208 - names


@posix_only
@pytest.mark.parametrize("exists", [False, True])
def test_a_link_to_a_directory_stays_one(tree: Tree, tmp_path: Path, *, exists: bool) -> None:
    (tmp_path / "out").symlink_to("real")
    if exists:
        (tmp_path / "real").mkdir()
    write_dir(tree, tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert scan(tmp_path / "real").digest() == tree.digest()


@posix_only
def test_a_link_to_a_directory_that_holds_files_is_refused(tree: Tree, tmp_path: Path) -> None:
    populate(tmp_path / "real", {"mine.txt": OLD})
    (tmp_path / "out").symlink_to("real")
    refused(lambda: write_dir(tree, tmp_path / "out"))
    assert (tmp_path / "real/mine.txt").read_bytes() == OLD


@posix_only
def test_a_tree_1500_levels_deep_is_written_and_removed(deep_path: Path) -> None:
    """Row 18."""
    tree = scan(populate_deep(deep_path / "deep", 1500))
    assert write_zip(tree, deep_path / "out.zip").content_digest == tree.digest()
    write_dir(tree, deep_path / "out")
    assert scan(deep_path / "out").digest() == tree.digest()
    remove_tree(deep_path / "out")
    remove_tree(deep_path / "deep")
    assert os.listdir(deep_path) == ["out.zip"]  # noqa: PTH208 - names


@posix_only
def test_removing_a_tree_follows_no_link(tmp_path: Path) -> None:
    """Row 5."""
    populate(tmp_path / "precious", {"a.txt": OLD})
    populate(tmp_path / "old", {"b.txt": ""})
    (tmp_path / "old/file").symlink_to(tmp_path / "precious/a.txt")
    (tmp_path / "old/directory").symlink_to(tmp_path / "precious")
    remove_tree(tmp_path / "old")
    assert not (tmp_path / "old").exists()
    assert (tmp_path / "precious/a.txt").read_bytes() == OLD


# Outputs that are there already, and temporaries


def test_an_existing_zip_is_replaced_only_when_the_new_one_is_complete(
    tree: Tree, tmp_path: Path
) -> None:
    """Rows 34 and 35."""
    output = populate(tmp_path, {"out.zip": OLD}) / "out.zip"
    seen = []

    def look(package: Package) -> None:
        seen.append((output.read_bytes(), leftovers(tmp_path), package.zipped))

    package = write_zip(tree, output, accept=look)
    assert seen == [(OLD, [".out.zip.lambdaslim-partial"], package.zipped)]
    assert read_back(output).content_digest == tree.digest()
    assert not leftovers(tmp_path)


class NotAcceptedError(Exception):
    pass


def deny(package: Package) -> NoReturn:
    raise NotAcceptedError(package.files)


@pytest.mark.parametrize("write", [write_zip, write_dir])
def test_what_is_not_accepted_is_not_written(
    tree: Tree, tmp_path: Path, write: Callable[..., Package]
) -> None:
    with pytest.raises(NotAcceptedError, match="5"):
        write(tree, tmp_path / "out", accept=deny)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["zip", "directory"])
def test_what_is_not_accepted_leaves_the_old_output(tree: Tree, tmp_path: Path, kind: str) -> None:
    """Row 34."""
    if kind == "zip":
        populate(tmp_path, {"out": OLD})
        with pytest.raises(NotAcceptedError):
            write_zip(tree, tmp_path / "out", accept=deny)
        assert (tmp_path / "out").read_bytes() == OLD
    else:
        before = snapshot(populate(tmp_path / "out", {"old.txt": OLD}))
        with pytest.raises(NotAcceptedError):
            write_dir(tree, tmp_path / "out", overwrite=True, accept=deny)
        assert snapshot(tmp_path / "out") == before
    assert os.listdir(tmp_path) == ["out"]  # noqa: PTH208 - names


@pytest.mark.parametrize("damage", [b"", b"PK\5\6" + b"\0" * 18])
def test_a_zip_that_reads_back_otherwise_is_a_failure(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    """Row 71."""
    output = populate(tmp_path, {"out.zip": OLD}) / "out.zip"

    def damaged(package: Package, temporary: Path) -> None:
        temporary.write_bytes(damage)
        compare(package, temporary)

    compare = archive_module._compare
    monkeypatch.setattr(archive_module, "_compare", damaged)
    with pytest.raises((ArchiveError, OutputError)):
        write_zip(tree, output)
    assert output.read_bytes() == OLD
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("name", ["fsync", "replace", "dup"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_an_error_of_the_system_is_a_failure_of_the_zip(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    """Row 36."""
    output = populate(tmp_path, {"out.zip": OLD}) / "out.zip"

    def failing(*_: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing)
        error = refused(lambda: write_zip(tree, output))
    assert os.strerror(code) in error.what
    assert output.read_bytes() == OLD
    assert not leftovers(tmp_path)
    assert write_zip(tree, output).files == 5


@pytest.mark.parametrize("name", ["_opened", "_lock", "_is_ours"])
def test_an_interrupt_right_after_a_step_leaves_nothing(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    step = getattr(staging, name)

    def interrupted(*arguments: object) -> NoReturn:
        monkeypatch.setattr(staging, name, step)
        step(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(staging, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_zip(tree, tmp_path / "out.zip")
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("turn", range(8))
@pytest.mark.parametrize("name", ["fsync", "rename"])
def test_an_error_of_the_system_is_a_failure_of_the_directory(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, turn: int
) -> None:
    """Row 36: whichever call it is, the directory is the old one or the new one.

    The last flush is that of the directory above, when all has happened: it is no failure.
    """
    before = snapshot(populate(tmp_path / "out", {"old.txt": OLD}))
    calls, real = [], getattr(os, name)

    def failing(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == turn + 1:
            raise OSError(errno.EIO, "Input/output error")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing)
        if turn >= {"fsync": len(tree), "rename": 2}[name]:
            write_dir(tree, tmp_path / "out", overwrite=True)
        else:
            refused(lambda: write_dir(tree, tmp_path / "out", overwrite=True))
    if snapshot(tmp_path / "out") != before:
        assert scan(tmp_path / "out").digest() == tree.digest()
    assert not leftovers(tmp_path)


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from lambdaslim import SlimError, scan, write_dir, write_zip
tree = scan(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for write in (write_zip, write_dir):
    try:
        write(tree, sys.argv[2] + "/" + write.__name__)
    except SlimError as error:
        print(type(error).__name__, error)
"""


@posix_only
def test_a_full_disk_leaves_the_old_output_and_no_temporary(tree: Tree, tmp_path: Path) -> None:
    """Row 30: a limit on the size of a file fails a write as a full disk does."""
    source, outputs = tmp_path / "source", tmp_path / "outputs"
    write_dir(tree, source)
    before = snapshot(source)
    populate(outputs, {"write_zip": OLD})
    answer = disk.run_python(LIMITED, source, outputs)
    assert answer.stdout.count("cannot be written: File too large") == 2, answer
    assert snapshot(source) == before
    assert (outputs / "write_zip").read_bytes() == OLD
    assert os.listdir(outputs) == ["write_zip"]  # noqa: PTH208 - names


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("mounts a small disk, which Linux lets root do")
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounts a small disk, which is not allowed here")
    return place


def test_a_disk_that_is_really_full_is_a_failure(tree: Tree, small_disk: Path) -> None:
    """Row 30."""
    try:
        output = populate(small_disk, {"out.zip": OLD}) / "out.zip"
        for action in (lambda: write_zip(tree, output), lambda: write_dir(tree, small_disk / "d")):
            assert "No space left" in refused(action).what
        assert output.read_bytes() == OLD
        assert [place.name for place in small_disk.iterdir()] == ["out.zip"]
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)


WRITE_FOR_EVER = """
import sys
from lambdaslim import scan, write_dir, write_zip
tree = scan(sys.argv[1])
print("ready", flush=True)
while True:
    write_zip(tree, sys.argv[2] + "/out.zip")
    write_dir(tree, sys.argv[2] + "/out", overwrite=True)
"""


@posix_only
@pytest.mark.parametrize("seed", range(12))
def test_a_killed_run_leaves_the_input_and_an_old_or_new_output(
    tree: Tree, tmp_path: Path, seed: int
) -> None:
    """Row 31: and the next run takes no notice of what it left, and sweeps it."""
    source, outputs = tmp_path / "source", tmp_path / "outputs"
    write_dir(tree, source)
    before = snapshot(source)
    populate(outputs, {"out.zip": OLD, "out/old.txt": OLD})
    with disk.started_python(WRITE_FOR_EVER, source, outputs) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(random.Random(seed).uniform(0, 0.08))  # noqa: S311 - any moment will do
        process.kill()
    assert snapshot(source) == before
    if (outputs / "out.zip").read_bytes() != OLD:
        assert read_back(outputs / "out.zip").content_digest == tree.digest()
    with staged_directory(outputs / "out", overwrite=True) as temporary:
        # A swap that was cut short is undone or completed before anything else.
        if not (outputs / "out/old.txt").exists():
            assert scan(outputs / "out").digest() == tree.digest()
        populate(temporary, {"new.txt": ""})
    write_zip(tree, outputs / "out.zip")
    assert sorted(os.listdir(outputs)) == ["out", "out.zip"]  # noqa: PTH208 - names


HOLD = """
import sys
from pathlib import Path
from lambdaslim.staging import staged_directory, staged_file
path = Path(sys.argv[2])
with staged_file(path) if sys.argv[1] == "zip" else staged_directory(path, overwrite=True):
    print("ready", flush=True)
    sys.stdin.read()
"""


@posix_only
@pytest.mark.parametrize("kind", ["zip", "directory"])
def test_of_two_runs_at_once_the_second_fails_and_the_first_goes_on(
    tree: Tree, tmp_path: Path, kind: str
) -> None:
    """Row 32."""
    output = tmp_path / "out"
    write = write_zip if kind == "zip" else write_dir
    with disk.started_python(HOLD, kind, output) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        before = leftovers(tmp_path)
        assert "another run" in refused(lambda: write(tree, output)).what
        assert leftovers(tmp_path) == before
        assert not output.exists()
        _, errors = first.communicate("", timeout=20)
        assert first.returncode == 0, errors
    assert output.exists()
    assert not leftovers(tmp_path)


def test_a_run_that_failed_holds_no_lock(tree: Tree, tmp_path: Path) -> None:
    """Row 32."""
    for write in (write_zip, write_dir):
        with pytest.raises(NotAcceptedError):
            write(tree, tmp_path / write.__name__, accept=deny)
        assert write(tree, tmp_path / write.__name__).files == 5


def test_a_stale_temporary_is_swept(tree: Tree, tmp_path: Path) -> None:
    """Row 33."""
    stale = ".out.zip.lambdaslim-partial"
    populate(tmp_path, {stale: b"x" * 1_000_000, ".out.lambdaslim-partial/a": "", "other": OLD})
    populate(tmp_path, {".out.lambdaslim-lock": ""})
    write_zip(tree, tmp_path / "out.zip")
    write_dir(tree, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["other", "out", "out.zip"]  # noqa: PTH208 - names
    assert read_back(tmp_path / "out.zip").content_digest == tree.digest()


def test_the_temporaries_of_other_outputs_are_left_alone(tree: Tree, tmp_path: Path) -> None:
    """Row 33: they may be those of a run that goes on."""
    populate(tmp_path, {".else.zip.lambdaslim-partial": OLD, ".else.lambdaslim-partial/a": OLD})
    write_zip(tree, tmp_path / "out.zip")
    write_dir(tree, tmp_path / "out")
    assert leftovers(tmp_path) == [".else.lambdaslim-partial", ".else.zip.lambdaslim-partial"]


@posix_only
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_in_the_place_of_the_temporary_is_not_written_through(
    tree: Tree, tmp_path: Path, *, dangling: bool
) -> None:
    """Row 6: somebody else may have put it there."""
    victim = tmp_path / "victim"
    if not dangling:
        victim.write_bytes(OLD)
    for suffix in (".zip.lambdaslim-partial", ".lambdaslim-partial", ".lambdaslim-lock"):
        (tmp_path / f".out{suffix}").symlink_to(victim)
    refused(lambda: write_zip(tree, tmp_path / "out.zip"))
    refused(lambda: write_dir(tree, tmp_path / "out"))
    assert victim.exists() is not dangling
    assert dangling or victim.read_bytes() == OLD
    assert not (tmp_path / "out.zip").exists()


@posix_only
def test_a_link_in_the_place_of_the_temporary_directory_is_not_followed(
    tree: Tree, tmp_path: Path
) -> None:
    """Row 6."""
    populate(tmp_path / "victim", {"mine.txt": OLD})
    (tmp_path / ".out.lambdaslim-partial").symlink_to("victim")
    try:
        write_dir(tree, tmp_path / "out")
    except OutputError:
        assert not (tmp_path / "out").exists()
    assert snapshot(tmp_path / "victim").keys() == {".", "mine.txt"}


INTERRUPTED = """
import sys, time
import lambdaslim.archive
from lambdaslim import scan, write_dir, write_zip
from lambdaslim.cli import main

def wait(*_):
    print("ready", flush=True)
    for _ in range(600):  # a signal right before a sleep is seen after it
        time.sleep(0.1)

if sys.argv[1] == "zip":
    lambdaslim.archive._compare = wait
else:
    lambdaslim.archive.scan = wait
common = ["--runtime", "python3.13", "--skip", "promote-bytecode"]
if sys.argv[1] == "zip":
    sys.exit(main(["pack", sys.argv[2], "-o", sys.argv[3], *common]))
sys.exit(main(["slim", sys.argv[2], "--to", sys.argv[3], *common]))
"""


@posix_only
@pytest.mark.parametrize("kind", ["zip", "dir"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_an_interrupted_command_leaves_nothing(
    tree: Tree, tmp_path: Path, kind: str, number: signal.Signals, code: int
) -> None:
    """Row 37."""
    source, outputs = tmp_path / "source", tmp_path / "outputs"
    outputs.mkdir()
    write_dir(tree, source)
    before = snapshot(source)
    output = outputs / f"out.{kind}"
    with disk.started_python(INTERRUPTED, kind, source, output) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert leftovers(outputs)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert not any(outputs.iterdir())
    assert snapshot(source) == before


# In place


CLEAN = {"pkg/a.py": "a = 1\n", "pkg/data.txt": "data", "app.py": "import pkg\n"}
NO_TEXT = (passes.Exclude(["*.txt"]),)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return populate(tmp_path / "source", CLEAN)


def test_in_place_replaces_the_source_at_the_end(source: Path) -> None:
    inode = source.stat().st_ino
    slimmed = slim(source, in_place=True, passes=NO_TEXT)
    assert list(scan(source)) == ["app.py", "pkg/a.py"]
    assert source.stat().st_ino != inode, "it was changed file by file"
    assert slimmed.package.path == source
    assert os.listdir(source.parent) == ["source"]  # noqa: PTH208 - names


@posix_only
def test_in_place_leaves_hard_links_elsewhere_alone(source: Path, tmp_path: Path) -> None:
    """Row 7: installers link into their caches."""
    cache = tmp_path / "cache.txt"
    os.link(source / "pkg/data.txt", cache)
    slim(source, in_place=True, passes=NO_TEXT)
    assert cache.read_bytes() == b"data"


@posix_only
def test_in_place_through_a_link_keeps_the_link(source: Path, tmp_path: Path) -> None:
    """Row 4."""
    (tmp_path / "link").symlink_to(source)
    slim(tmp_path / "link", in_place=True, passes=NO_TEXT)
    assert (tmp_path / "link").is_symlink()
    assert list(scan(source)) == ["app.py", "pkg/a.py"]


def test_in_place_works_on_a_relative_path(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source)
    slim(".", in_place=True, passes=NO_TEXT)
    assert list(scan(source)) == ["app.py", "pkg/a.py"]


@pytest.mark.parametrize("turn", [1, 2])
def test_a_swap_that_fails_leaves_the_source(
    source: Path, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    """Row 31."""
    before, calls, real = snapshot(source), [], os.rename

    def failing(old: Path, new: Path) -> None:
        calls.append(old)
        if len(calls) == turn:
            raise OSError(errno.EIO, "Input/output error")
        real(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing)
        refused(lambda: slim(source, in_place=True, passes=NO_TEXT))
    assert snapshot(source) == before
    assert not leftovers(source.parent)


def test_a_source_moved_aside_by_a_killed_run_is_put_back_and_slimmed(source: Path) -> None:
    """Row 31: killed between the two renames of the swap."""
    source.rename(source.with_name(".source.lambdaslim-old"))
    populate(source.with_name(".source.lambdaslim-partial"), {"half.py": ""})
    slim(source, in_place=True, passes=NO_TEXT)
    assert list(scan(source)) == ["app.py", "pkg/a.py"]
    assert os.listdir(source.parent) == ["source"]  # noqa: PTH208 - names


def test_the_remains_of_a_completed_swap_are_removed(source: Path) -> None:
    """Row 31: killed after the second rename."""
    populate(source.with_name(".source.lambdaslim-old"), {"old.py": ""})
    slim(source, in_place=True, passes=NO_TEXT)
    assert list(scan(source)) == ["app.py", "pkg/a.py"]
    assert os.listdir(source.parent) == ["source"]  # noqa: PTH208 - names


def test_a_dry_run_in_place_removes_no_remains(source: Path) -> None:
    old = populate(source.with_name(".source.lambdaslim-old"), {"old.py": ""})
    before = snapshot(source.parent)
    slim(source, in_place=True, passes=NO_TEXT, dry_run=True)
    assert snapshot(source.parent) == before
    assert old.is_dir()


@posix_only
@pytest.mark.parametrize("aside", [False, True])
def test_the_remains_of_a_run_that_goes_on_are_left_to_it(source: Path, *, aside: bool) -> None:
    """Row 32: that run is between its renames, or removing what it moved aside."""
    with disk.started_python(HOLD, "directory", source) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        old = source.with_name(".source.lambdaslim-old")
        if aside:
            source.rename(old)
        else:
            populate(old, {"old.py": ""})
        before = below(source.parent)
        with pytest.raises(SlimError):
            slim(source, in_place=True, passes=NO_TEXT)
        assert below(source.parent) == before


@pytest.mark.parametrize("levels", [0, 1])
def test_the_running_python_and_what_holds_it_are_refused(
    source: Path, monkeypatch: pytest.MonkeyPatch, levels: int
) -> None:
    """Row 29."""
    before = snapshot(source)
    prefix = source / "pkg" if levels else source
    for name in ("prefix", "base_prefix", "exec_prefix"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, name, str(prefix))
            assert (
                "running Python"
                in refused(lambda: slim(source, in_place=True, passes=NO_TEXT)).what
            )
    assert snapshot(source) == before
    assert not leftovers(source.parent)


def test_the_real_prefix_and_the_root_are_refused() -> None:
    """Row 29: asked of the check alone, so that nothing is lost if it fails."""
    for place in (sys.prefix, Path(sys.prefix).parent, "/", sys.base_prefix):
        refused_in_place(Path(place))


def test_the_packages_that_the_running_python_imports_are_refused() -> None:
    """Row 29: site-packages is the ruin of the interpreter as much as its prefix is."""
    for place in (Path(os.__file__).parent, Path(pytest.__file__).parents[1]):
        refused_in_place(place)


def refused_in_place(place: Path) -> None:
    assert "running Python" in refused(lambda: package_module._in_place([place])).what


def test_a_staged_file_that_is_interrupted_is_no_output(tmp_path: Path) -> None:
    """Row 37."""

    def write() -> None:
        with staged_file(tmp_path / "out") as (file, _):
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert not any(tmp_path.iterdir())
