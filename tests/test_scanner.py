"""What a scan takes, what it refuses, and what it says then.

"Row N" is the row of the catalogue of cases that a test covers.
"""

from __future__ import annotations

import io
import os
import socket
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import disk
from disk import linux_only, populate, populate_deep, posix_only
from lambdaslim import SlimError, Tree, scan
from lambdaslim.errors import ChangedError, OverlayError, ScanError, UnsafeNameError
from lambdaslim.scanner import Symlinks, scan_zip

POLICIES = tuple(Symlinks)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return populate(tmp_path / "source", {"pkg/a.py": "a = 1\n", "pkg/data/b.bin": b"\0\xff"})


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return populate(tmp_path / "outside", {"secret.txt": "secret", "more/c.py": "c = 1\n"})


def refusal(*directories: Path, symlinks: str = "refuse") -> ScanError:
    with pytest.raises(ScanError) as caught:
        scan(*directories, symlinks=symlinks)
    assert "\n" not in str(caught.value)
    return caught.value


# What a tree is


def test_a_scan_is_the_files_by_posix_path(source: Path) -> None:
    tree = scan(source)
    assert list(tree) == ["pkg/a.py", "pkg/data/b.bin"]
    assert tree["pkg/data/b.bin"].read() == b"\0\xff"
    assert [entry.size for entry in tree.values()] == [6, 2]
    assert tree.size == 8


def test_paths_ascend_by_their_utf8_bytes(tmp_path: Path) -> None:
    names = ["a-b.py", "a/b.py", "a.py", "ab.py", "é.py", "z.py", "\U0001f40d.py", "\uffee.py"]
    tree = scan(populate(tmp_path / "s", dict.fromkeys(names, "")))
    assert [path.encode() for path in tree] == sorted(name.encode() for name in names)


def test_an_empty_directory_leaves_no_trace(source: Path) -> None:
    """Row 23."""
    (source / "pkg/empty/empty").mkdir(parents=True)
    assert list(scan(source)) == ["pkg/a.py", "pkg/data/b.bin"]


@pytest.mark.parametrize("inner", [None, "only/directories"])
def test_a_tree_without_files_is_refused(tmp_path: Path, inner: str | None) -> None:
    place = tmp_path / "empty"
    (place / inner if inner else place).mkdir(parents=True)
    assert refusal(place).where == str(place)


def test_a_file_instead_of_a_directory_is_refused(source: Path) -> None:
    assert refusal(source / "pkg/a.py").what == "is not a directory"


@pytest.mark.parametrize("name", ["missing", "missing/below", "nul\0byte", "x" * 300])
def test_a_missing_or_impossible_directory_is_refused(tmp_path: Path, name: str) -> None:
    assert name in (refusal(tmp_path / name).where or "")


def test_no_directory_at_all_is_refused() -> None:
    assert "no source directory" in refusal().what


def test_a_policy_that_does_not_exist_is_refused(source: Path) -> None:
    with pytest.raises(SlimError) as caught:
        scan(source, symlinks="sometimes")
    assert "sometimes" in str(caught.value)


# Symlinks


@posix_only
@pytest.mark.parametrize("target", ["secret.txt", "more"])
@pytest.mark.parametrize("policy", ["refuse", "inside"])
def test_a_link_that_leaves_the_tree_is_refused_by_name(
    source: Path, outside: Path, target: str, policy: str
) -> None:
    """Row 1."""
    (source / "pkg/link").symlink_to(outside / target)
    error = refusal(source, symlinks=policy)
    assert error.where == str(source / "pkg/link")
    assert str(outside / target) in error.what


@posix_only
def test_following_takes_what_lies_outside(source: Path, outside: Path) -> None:
    """Row 1: on request."""
    (source / "pkg/link").symlink_to(outside)
    tree = scan(source, symlinks="follow")
    assert tree["pkg/link/secret.txt"].read() == b"secret"
    assert "pkg/link/more/c.py" in tree


@posix_only
def test_a_link_inside_the_tree_is_refused_by_name(source: Path) -> None:
    """Row 2."""
    (source / "link.py").symlink_to("pkg/a.py")
    assert refusal(source).where == str(source / "link.py")


@posix_only
@pytest.mark.parametrize("policy", ["inside", "follow"])
def test_a_link_inside_the_tree_is_materialised_on_request(source: Path, policy: str) -> None:
    """Row 2."""
    (source / "link.py").symlink_to("pkg/a.py")
    (source / "copy").symlink_to("pkg/data")
    tree = scan(source, symlinks=policy)
    assert tree["link.py"].read() == b"a = 1\n"
    assert tree["copy/b.bin"].read() == b"\0\xff"


@posix_only
def test_a_link_outside_and_back_counts_as_inside(source: Path, outside: Path) -> None:
    """Row 2: where a link ends decides, not how it gets there."""
    (outside / "back").symlink_to(source / "pkg/a.py")
    (source / "link.py").symlink_to(outside / "back")
    assert scan(source, symlinks="inside")["link.py"].read() == b"a = 1\n"


@posix_only
def test_a_neighbour_whose_name_starts_alike_is_outside(source: Path) -> None:
    """Row 1."""
    twin = populate(source.with_name(f"{source.name}-twin"), {"t.py": ""})
    (source / "link.py").symlink_to(twin / "t.py")
    assert "outside" in refusal(source, symlinks="inside").what


@posix_only
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("target", ["nowhere", "link", "/nowhere/at/all"])
def test_a_dangling_link_or_a_loop_is_an_error_in_every_policy(
    source: Path, policy: str, target: str
) -> None:
    """Row 3."""
    (source / "link").symlink_to(target)
    error = refusal(source, symlinks=policy)
    assert error.where == str(source / "link")
    assert "dangling" in error.what


@posix_only
@pytest.mark.parametrize("policy", ["inside", "follow"])
@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_to_a_directory_above_is_refused_by_its_name(
    source: Path, policy: str, target: str
) -> None:
    """Row 3: a walk through it would never end."""
    (source / "pkg/data/up").symlink_to(target)
    error = refusal(source, symlinks=policy)
    assert error.where == str(source / "pkg/data/up")


@posix_only
def test_directories_that_link_to_each_other_are_refused(source: Path) -> None:
    """Row 3."""
    (source / "pkg/data/right").symlink_to(source / "right")
    populate(source / "right", {"r.py": ""})
    (source / "right/left").symlink_to(source / "pkg")
    assert "above" in refusal(source, symlinks="inside").what


@posix_only
def test_two_links_to_one_directory_are_no_loop(source: Path) -> None:
    """Row 3: only an ancestor is."""
    (source / "one").symlink_to("pkg")
    (source / "two").symlink_to("pkg")
    tree = scan(source, symlinks="inside")
    assert tree["one/a.py"].read() == tree["two/a.py"].read() == tree["pkg/a.py"].read()


@posix_only
@pytest.mark.parametrize("policy", POLICIES)
def test_a_root_that_is_a_link_is_resolved(source: Path, policy: str) -> None:
    """Row 4."""
    link = source.with_name("link")
    link.symlink_to(source)
    assert list(scan(link, symlinks=policy)) == list(scan(source))


@posix_only
@pytest.mark.parametrize("target", ["nowhere", "root"])
def test_a_root_that_leads_nowhere_is_refused(tmp_path: Path, target: str) -> None:
    """Row 4."""
    (tmp_path / "root").symlink_to(target)
    assert refusal(tmp_path / "root", symlinks="follow").where == str(tmp_path / "root")


@posix_only
def test_a_directory_swapped_for_a_link_during_the_walk_is_refused(
    source: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 6."""
    real = os.listdir

    def listdir(directory: int) -> list[str]:
        names = real(directory)
        if "pkg" in names:
            (source / "pkg").rename(source / "moved")
            (source / "pkg").symlink_to(outside)
        return names

    monkeypatch.setattr(os, "listdir", listdir)
    assert refusal(source).where == str(source / "pkg")


@posix_only
def test_a_directory_replaced_during_the_walk_is_refused(
    source: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 6: between the look at it in its parent and the listing of it."""
    real = os.open

    def swapping(path: Path, flags: int) -> int:
        if path == source / "pkg":
            path.rename(source / "moved")
            outside.rename(path)
        return real(path, flags)

    monkeypatch.setattr(os, "open", swapping)
    assert "replaced" in refusal(source).what


# What is no file, or cannot be read


@posix_only
@pytest.mark.parametrize("policy", POLICIES)
def test_a_fifo_is_refused_and_not_opened(source: Path, policy: str) -> None:
    """Row 8: to open it would wait for a writer, for ever."""
    os.mkfifo(source / "pkg/pipe")
    assert refusal(source, symlinks=policy).where == str(source / "pkg/pipe")


@posix_only
def test_a_socket_is_refused(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 8."""
    monkeypatch.chdir(source)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
        assert "neither a file nor a directory" in refusal(source).what


@posix_only
def test_a_link_to_a_device_is_refused(source: Path) -> None:
    """Row 8."""
    (source / "null").symlink_to(os.devnull)
    assert "neither a file nor a directory" in refusal(source, symlinks="follow").what


SCAN_UNPRIVILEGED = f"""
import sys
from lambdaslim import SlimError, scan
from lambdaslim.errors import printable
printable("\\x1b")
{disk.UNPRIVILEGED}
try:
    tree = scan(sys.argv[1])
    print("scanned", *tree)
    tree.digest()
except SlimError as error:
    print(type(error).__name__, error)
"""


@posix_only
def test_an_unreadable_directory_is_an_error_not_an_empty_one() -> None:
    """Row 9."""
    with disk.public_directory() as place:
        populate(place / "s", {"pkg/a.py": "", "closed/b.py": ""})
        (place / "s/closed").chmod(0)
        answer = disk.run_python(SCAN_UNPRIVILEGED, place / "s")
    assert answer.stdout.startswith("ScanError"), answer
    assert f"{place}/s/closed: Permission denied" in answer.stdout


@posix_only
def test_an_unreadable_file_is_an_error_when_it_is_read() -> None:
    """Row 9."""
    with disk.public_directory() as place:
        populate(place / "s", {"pkg/a.py": "", "pkg/closed.py": ""})
        (place / "s/pkg/closed.py").chmod(0)
        answer = disk.run_python(SCAN_UNPRIVILEGED, place / "s")
    assert answer.stdout.splitlines()[0] == "scanned pkg/a.py pkg/closed.py", answer
    assert f"ChangedError {place}/s/pkg/closed.py: cannot be read: Permission" in answer.stdout


@posix_only
def test_a_read_only_source_works() -> None:
    """Row 10."""
    with disk.public_directory() as place:
        populate(place / "s", {"pkg/a.py": ""})
        (place / "s/pkg/a.py").chmod(0o444)
        (place / "s/pkg").chmod(0o555)
        answer = disk.run_python(SCAN_UNPRIVILEGED, place / "s")
    assert answer.stdout == "scanned pkg/a.py\n", answer


# Names


def name_error(source: Path, name: bytes) -> UnsafeNameError:
    directory = os.fsencode(source)
    with open(os.path.join(directory, name), "wb"):  # noqa: PTH118, PTH123 - paths in bytes
        pass
    error = refusal(source)
    assert isinstance(error, UnsafeNameError)
    return error


@linux_only
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param(b"caf\xe9.py", r"caf\udce9.py", id="row 11, Latin-1"),
        pytest.param(b"\xed\xa0\x80.py", r"\udced\udca0\udc80.py", id="row 11, surrogate"),
        pytest.param(b"\xff", r"\udcff", id="row 11, no UTF-8"),
        pytest.param(b"a\\b.py", "a\\b.py", id="row 12, backslash"),
        pytest.param(b"C:evil.py", "C:evil.py", id="row 13, drive"),
        pytest.param(b"a.py:stream", "a.py:stream", id="row 13, colon"),
        pytest.param(b"a\nb.py", r"a\nb.py", id="row 14, newline"),
        pytest.param(b"a\rb.py", r"a\rb.py", id="row 14, carriage return"),
        pytest.param(b"a\x1b[31m.py", r"a\x1b[31m.py", id="rows 14 and 68, ESC"),
        pytest.param(b"a\x7f.py", r"a\x7f.py", id="row 14, DEL"),
        pytest.param(b"a\xc2\x9bb.py", r"a\x9bb.py", id="row 14, C1"),
    ],
)
def test_a_name_that_no_package_can_hold_is_refused_and_shown_escaped(
    source: Path, name: bytes, shown: str
) -> None:
    error = name_error(source, name)
    assert shown in str(error)
    assert str(error).isprintable()


@linux_only
def test_such_a_name_of_a_directory_is_refused_too(source: Path) -> None:
    """Row 12."""
    populate(source, {"a\\b/c.py": ""})
    assert isinstance(refusal(source), UnsafeNameError)


@linux_only
def test_names_that_differ_in_case_or_normal_form_stay_as_they_are(source: Path) -> None:
    """Rows 15 and 16: the bytes of a name are never normalised."""
    names = ["A.py", "a.py", "caf\N{LATIN SMALL LETTER E WITH ACUTE}.py", "cafe\u0301.py"]
    populate(source, dict.fromkeys(names, ""))
    assert set(names) <= set(scan(source))


@linux_only
@pytest.mark.parametrize("name", ["CON", "aux.py", "dot.", "space ", " ", "-rf", "*", "~", "🐍"])
def test_names_that_only_other_systems_refuse_are_scanned(source: Path, name: str) -> None:
    """Row 17: a check warns of some of them."""
    populate(source, {name: "x"})
    assert scan(source)[name].read() == b"x"


@posix_only
def test_a_tree_1500_levels_deep_is_scanned_and_read(deep_path: Path) -> None:
    """Row 18."""
    tree = scan(populate_deep(deep_path / "deep", 1500))
    assert list(tree) == ["d/" * 1500 + "deep.py"]
    assert [entry.read() for entry in tree.values()] == [b"deep = True\n"]


@linux_only
def test_a_path_too_long_for_the_system_is_refused(tmp_path: Path) -> None:
    """Row 18: never a partial tree."""
    populate(tmp_path / "deep", {"pkg/a.py": ""})
    assert "too long" in refusal(populate_deep(tmp_path / "deep", 30, "d" * 200)).what


# Contents


def changed(tree: Tree, path: str) -> str:
    with pytest.raises(ChangedError) as caught:
        tree[path].read()
    return str(caught.value)


def append(place: Path) -> None:
    with place.open("a") as file:
        file.write("# more\n")


def rewrite(place: Path) -> None:
    place.write_text("a = 2\n")
    os.utime(place, (1, 1))


def replace_keeping_date_and_size(place: Path) -> None:
    before = place.stat()
    place.with_name("new").write_text("a = 2\n")
    os.utime(place.with_name("new"), ns=(before.st_atime_ns, before.st_mtime_ns))
    place.with_name("new").replace(place)


def swap_for_a_link(place: Path) -> None:
    place.rename(place.with_name("moved"))
    place.symlink_to("moved")


def swap_for_a_directory(place: Path) -> None:
    place.unlink()
    place.mkdir()


@posix_only
@pytest.mark.parametrize(
    "change",
    [
        append,
        rewrite,
        replace_keeping_date_and_size,
        swap_for_a_link,
        swap_for_a_directory,
        Path.unlink,
    ],
)
def test_a_file_that_is_not_the_scanned_one_is_not_read(
    source: Path, change: Callable[[Path], object]
) -> None:
    """Rows 6 and 24."""
    tree = scan(source)
    change(source / "pkg/a.py")
    assert str(source / "pkg/a.py") in changed(tree, "pkg/a.py")


@posix_only
def test_a_directory_swapped_for_a_link_after_the_scan_is_not_followed(
    source: Path, outside: Path
) -> None:
    """Row 6."""
    tree = scan(source)
    populate(outside, {"a.py": "a = 1\n"})
    (source / "pkg").rename(source / "moved")
    (source / "pkg").symlink_to(outside)
    assert "changed" in changed(tree, "pkg/a.py")


@posix_only
def test_a_file_swapped_for_a_fifo_is_an_error_and_no_endless_wait(source: Path) -> None:
    """Rows 6 and 8: opening a FIFO without a writer blocks."""
    code = """
import os, sys
from lambdaslim import SlimError, scan
tree = scan(sys.argv[1])
os.unlink(sys.argv[1] + "/pkg/a.py")
os.mkfifo(sys.argv[1] + "/pkg/a.py")
try:
    tree["pkg/a.py"].read()
except SlimError as error:
    print(type(error).__name__)
"""
    assert disk.run_python(code, source, timeout=5).stdout == "ChangedError\n"


@posix_only
def test_a_file_that_grows_while_it_is_read_is_an_error(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 24: between the first look at the open file and the last."""
    tree = scan(source)
    real, seen = os.fstat, []

    def fstat(descriptor: int) -> os.stat_result:
        seen.append(real(descriptor))
        if len(seen) == 1:
            append(source / "pkg/a.py")
        return seen[-1]

    monkeypatch.setattr(os, "fstat", fstat)
    assert "changed" in changed(tree, "pkg/a.py")


@posix_only
def test_hard_links_are_two_files_of_one_content(source: Path, outside: Path) -> None:
    """Row 7."""
    os.link(outside / "secret.txt", source / "one.txt")
    os.link(outside / "secret.txt", source / "two.txt")
    tree = scan(source)
    assert tree["one.txt"].read() == tree["two.txt"].read() == b"secret"


@posix_only
@pytest.mark.parametrize(
    ("mode", "executable"),
    [
        (0o4755, True),
        (0o2755, True),
        (0o1644, False),
        (0o600, False),
        (0o700, True),
        (0o444, False),
        (0o655, False),
        (0o777, True),
    ],
)
def test_of_a_mode_only_the_owners_x_bit_counts(
    source: Path, mode: int, *, executable: bool
) -> None:
    """Row 26."""
    (source / "pkg/a.py").chmod(mode)
    assert scan(source)["pkg/a.py"].executable is executable


@posix_only
@pytest.mark.parametrize("seconds", [-1_000_000_000, 0, 315_532_799, 4_354_819_200, 2**33])
def test_any_date_is_accepted(source: Path, seconds: int) -> None:
    """Row 25: before 1980, after 2107."""
    os.utime(source / "pkg/a.py", (seconds, seconds))
    assert scan(source)["pkg/a.py"].read() == b"a = 1\n"


@posix_only
def test_a_scan_changes_nothing(source: Path) -> None:
    before = disk.snapshot(source)
    scan(source).digest()
    assert disk.snapshot(source) == before


# Overlays


def test_several_directories_become_one_tree(tmp_path: Path) -> None:
    one = populate(tmp_path / "one", {"pkg/a.py": "a", "pkg/same.py": "same"})
    two = populate(tmp_path / "two", {"pkg/b.py": "b", "pkg/same.py": "same"})
    three = populate(tmp_path / "three", {"app.py": "app", "pkg/same.py": "same"})
    tree = scan(one, two, three)
    assert list(tree) == ["app.py", "pkg/a.py", "pkg/b.py", "pkg/same.py"]
    assert tree.digest() == scan(three, two, one).digest()


def test_two_contents_of_one_path_are_an_error_that_names_both(tmp_path: Path) -> None:
    """Row 69."""
    names = ("one", "two", "three")
    places = [populate(tmp_path / n, {f"{n}.py": "", "pkg/x.py": n}) for n in names]
    with pytest.raises(OverlayError) as caught:
        scan(*places)
    assert caught.value.where == "pkg/x.py"
    assert str(places[0] / "pkg/x.py") in caught.value.what
    assert str(places[1] / "pkg/x.py") in caught.value.what


def test_contents_of_one_size_and_date_are_told_apart(tmp_path: Path) -> None:
    places = [populate(tmp_path / n, {"x.py": n}) for n in ("one", "two")]
    for place in places:
        os.utime(place / "x.py", (1, 1))
    with pytest.raises(OverlayError):
        scan(*places)


@pytest.mark.parametrize("turn", [1, -1])
def test_a_file_in_one_and_a_directory_in_another_is_an_error(tmp_path: Path, turn: int) -> None:
    """Row 69."""
    places = [populate(tmp_path / "one", {"x": ""}), populate(tmp_path / "two", {"x/y.py": ""})]
    with pytest.raises(OverlayError) as caught:
        scan(*places[::turn])
    assert caught.value.where == "x"


@posix_only
@pytest.mark.parametrize("turn", [1, -1])
def test_a_file_is_executable_if_it_is_in_any_directory(tmp_path: Path, turn: int) -> None:
    places = [populate(tmp_path / n, {"run": "#!", "plain": "-"}) for n in ("one", "two")]
    (places[0] / "run").chmod(0o755)
    tree = scan(*places[::turn])
    assert (tree["run"].executable, tree["plain"].executable) == (True, False)


def test_one_directory_given_twice_is_itself(source: Path) -> None:
    assert scan(source, source).digest() == scan(source).digest()


def test_every_directory_of_an_overlay_must_hold_files(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refusal(source, tmp_path / "empty").where == str(tmp_path / "empty")


# Zips made by any tool


def zip_bytes(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def zip_file(place: Path, data: bytes) -> Path:
    place.write_bytes(data)
    return place


def zip_refusal(place: Path) -> ScanError:
    with pytest.raises(ScanError) as caught:
        scan_zip(place)
    assert str(caught.value).isprintable()
    return caught.value


def test_a_zip_is_the_files_in_it_without_its_directories(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("pkg")
        archive.mkdir("pkg/empty")
        archive.writestr("pkg/a.py", "a = 1\n")
        script = zipfile.ZipInfo("bin/run")
        script.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(script, "#!")
    tree = scan_zip(tmp_path / "a.zip")
    assert list(tree) == ["bin/run", "pkg/a.py"]
    assert [entry.executable for entry in tree.values()] == [True, False]
    assert tree["pkg/a.py"].read() == b"a = 1\n"
    assert tree.size == 8


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all", b"\x1f\x8b" + b"\0" * 100])
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    assert zip_refusal(zip_file(tmp_path / "a.zip", data)).where == str(tmp_path / "a.zip")


def test_a_missing_zip_is_refused(tmp_path: Path) -> None:
    assert "No such file" in zip_refusal(tmp_path / "missing.zip").what


def test_a_directory_is_no_zip(tmp_path: Path) -> None:
    assert zip_refusal(tmp_path).where == str(tmp_path)


def test_a_zip_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = zip_bytes(a=b"a" * 100, b=b"b" * 100)
    for size in range(len(whole) - 1):
        zip_refusal(zip_file(tmp_path / "a.zip", whole[:size]))


def test_a_zip_without_files_is_refused(tmp_path: Path) -> None:
    assert zip_refusal(zip_file(tmp_path / "a.zip", zip_bytes())).what == "holds no files"


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "a/../b", "a//b", "./a", "a\\b", "C:x", "a\x1bb", "a\nb"]
)
def test_a_hostile_name_in_a_zip_is_refused(tmp_path: Path, name: str) -> None:
    """Rows 12 to 14."""
    place = zip_file(tmp_path / "a.zip", zip_bytes(good=b"", **{name: b"x"}))
    assert isinstance(zip_refusal(place), UnsafeNameError)


def test_an_empty_name_in_a_zip_is_refused(tmp_path: Path) -> None:
    nameless = zipfile.ZipInfo("a")
    nameless.filename = ""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, archive.open(nameless, "w") as member:
        member.write(b"x")
    zip_refusal(tmp_path / "a.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b")])
def test_a_zip_with_a_path_twice_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    """Row 69. A name can be there twice only when the same archive is written to twice."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, name)
    with pytest.raises(SlimError) as caught:
        scan_zip(tmp_path / "a.zip")
    assert caught.value.where == "a"


def flipped(data: bytes, place: int, value: int) -> bytes:
    return data[:place] + bytes([value]) + data[place + 1 :]


def broken_members() -> Iterator[object]:
    """Yield zips whose central directory is sound and whose one member `a` is not."""
    whole = zip_bytes(a=bytes(range(256)) * 4)
    central = whole.rindex(b"PK\1\2")
    yield pytest.param(flipped(whole, central + 16, whole[central + 16] ^ 1), id="another CRC")
    yield pytest.param(flipped(whole, 40, whole[40] ^ 0xFF), id="a broken stream")
    yield pytest.param(flipped(whole, 0, 0), id="no local header")
    yield pytest.param(flipped(whole, central + 8, 1), id="encrypted")
    yield pytest.param(flipped(whole, central + 10, 99), id="an unknown compression")
    offset = struct.pack("<L", 50)
    yield pytest.param(whole[: central + 42] + offset + whole[central + 46 :], id="another offset")


@pytest.mark.parametrize("data", [*broken_members()])
def test_a_broken_member_of_a_zip_is_one_of_our_errors(tmp_path: Path, data: bytes) -> None:
    """`lambdaslim check` reads metadata in a zip to name the heaviest distributions."""
    tree = scan_zip(zip_file(tmp_path / "a.zip", data))
    with pytest.raises(SlimError) as caught:
        tree["a"].read()
    assert str(tmp_path / "a.zip") in str(caught.value)


@posix_only
def test_a_fifo_instead_of_a_zip_is_refused_and_not_opened(tmp_path: Path) -> None:
    """Row 8."""
    os.mkfifo(tmp_path / "pipe.zip")
    code = """
import sys
from lambdaslim import SlimError
from lambdaslim.scanner import scan_zip
try:
    scan_zip(sys.argv[1])
except SlimError as error:
    print(type(error).__name__)
"""
    assert disk.run_python(code, tmp_path / "pipe.zip", timeout=5).stdout == "ScanError\n"


def test_random_damage_to_a_zip_never_escapes_as_another_error(tmp_path: Path) -> None:
    whole = zip_bytes(**{"a.py": b"a = 1\n" * 9, "é.py": b"", "d-1.dist-info/METADATA": b"N"})
    for place in range(whole.index(b"PK\1\2"), len(whole)):
        for value in (0, 1, 0x7F, 0xFF, whole[place] ^ 0x20):
            try:
                scan_zip(zip_file(tmp_path / "a.zip", flipped(whole, place, value)))
            except SlimError as error:
                assert str(error).isprintable()  # noqa: PT017 - most of them still are zips
