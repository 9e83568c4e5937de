from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lambdaslim import Entry, Tree
from lambdaslim.distributions import Distributions, metadata_headers, required_name, source_of
from trees import TAG, Installer, cache_path, dist, metadata, on_disk, tree_from, without

INFO = "pkg-1.0.dist-info"


def read(*items: str | Sequence[Entry] | dict[str, str]) -> Distributions:
    return Distributions.read(tree_from(*items))


def with_record(record: str | bytes, *more: str, root: str = "") -> Tree:
    """Return the distribution pkg with another RECORD, and more files."""
    prefix = f"{root}/" if root else ""
    entries = without(dist("pkg", root=root), "RECORD")
    return tree_from(entries, *more, [Entry.of(f"{prefix}{INFO}/RECORD", record)])


def owned(tree: Tree, name: str = "pkg") -> list[str]:
    """Return the paths of a distribution without its metadata."""
    found = Distributions.read(tree)[name]
    return [path for path in found.files if not path.startswith(found.metadata)]


def codes(distributions: Distributions) -> list[str]:
    return [finding.code for finding in distributions.findings]


# What a RECORD says.


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_a_distribution_as_installed(installer: Installer) -> None:
    one = read(dist("Py.Pkg", "1.0.post1", ["pkg.py"], requires=["six>=1"], installer=installer))
    assert list(one) == ["py-pkg"]
    found = one["py-pkg"]
    assert (found.version, found.root, found.recorded) == ("1.0.post1", "", True)
    assert found.metadata == "Py.Pkg-1.0.post1.dist-info"
    assert [str(requirement) for requirement in found.requires] == ["six>=1"]
    assert (found.malformed, one.findings) == ((), ())


def test_recorded_files_are_owned_and_no_others() -> None:
    tree = with_record("pkg/__init__.py,,\npkg/gone.py,,\n", "pkg/mine.py")
    assert owned(tree) == ["pkg/__init__.py"]
    assert Distributions.read(tree).owner("pkg/mine.py") is None


def test_all_of_the_metadata_is_owned() -> None:
    tree = with_record("pkg/__init__.py,,\n", f"{INFO}/unrecorded")
    assert f"{INFO}/unrecorded" in Distributions.read(tree)["pkg"].files


@pytest.mark.parametrize("row", ["../../../etc/passwd", "/etc/passwd", "../x.py", "pkg/../../x.py"])
def test_row_59_paths_that_leave_the_tree_are_ignored_and_reported(row: str) -> None:
    tree = with_record(f"pkg/__init__.py,,\n{row},,\n", "etc/passwd", "x.py")
    (finding,) = Distributions.read(tree).findings
    assert owned(tree) == ["pkg/__init__.py"]
    assert finding.code == "metadata-outside"
    assert f"names {row}, outside the tree" in finding.message


@pytest.mark.parametrize("row", ["../../bin/x", "../../share/man/man1/x.1"])
def test_row_59_scripts_two_levels_up_are_legitimate(row: str) -> None:
    tree = with_record(f"pkg/__init__.py,,\n{row},,\n", "bin/x")
    assert owned(tree) == ["pkg/__init__.py"]
    assert Distributions.read(tree).findings == ()


def test_row_59_three_levels_up_may_be_inside_the_tree() -> None:
    root = "python/lib/python3.13/site-packages"
    tree = with_record("pkg/__init__.py,,\n../../../bin/x,,\n", "python/bin/x", root=root)
    assert owned(tree) == ["python/bin/x", f"{root}/pkg/__init__.py"]


def test_roundabout_paths_are_resolved() -> None:
    tree = with_record("./pkg/__init__.py,,\npkg\\win.py,,\npkg//a/../b.py,,\n", "pkg/win.py")
    assert owned(tree) == ["pkg/__init__.py", "pkg/win.py"]


def test_quoted_paths() -> None:
    tree = with_record('"pkg/a,b.py",,\n"pkg/""q"".py",,\r\n', "pkg/a,b.py", 'pkg/"q".py')
    assert owned(tree) == ['pkg/"q".py', "pkg/a,b.py"]


def test_a_line_separator_of_unicode_is_part_of_a_name() -> None:
    assert owned(with_record("pkg/a\u2028b.py,,\n", "pkg/a\u2028b.py")) == ["pkg/a\u2028b.py"]


@pytest.mark.parametrize(
    "record",
    [
        b'pkg/__init__.py,,\n"pkg/open.py,,\n',
        b"pkg/__init__.py,,\n" + b"x" * 200_000 + b",,\n",
    ],
    ids=["open-quote", "long-field"],
)
def test_row_63_a_malformed_record_is_reported(record: bytes) -> None:
    tree = with_record(record)
    assert owned(tree) == ["pkg/__init__.py"]
    assert codes(Distributions.read(tree)) == ["metadata-malformed"]


@pytest.mark.parametrize("record", [b"\0\0\0\0", b"\xff\xfe\xfd", b"\n\n,,\n,\n", b"\r\r", b'""'])
def test_row_63_a_strange_record_does_not_crash(record: bytes) -> None:
    assert owned(with_record(record)) == []


def test_row_63_a_record_that_is_not_utf_8_owns_what_can_be_read() -> None:
    assert owned(with_record(b"pkg/\xe9.py,,\npkg/__init__.py,,\n")) == ["pkg/__init__.py"]


def test_shared_files_have_several_owners() -> None:
    one = dist("one", files=["ns/__init__.py", "ns/one.py"])
    two = without(dist("two", files=["ns/__init__.py", "ns/two.py"]), "__init__.py")
    found = read(one, two)
    assert [owner.name for owner in found.owners["ns/__init__.py"]] == ["one", "two"]
    assert [owner.name for owner in found.owners["ns/two.py"]] == ["two"]


# Without a RECORD.


def unrecorded(*files: str, top_level: str | None = None, name: str = "My-Pkg") -> list[str]:
    entries = without(dist(name, files=files, top_level=top_level), "RECORD")
    tree = tree_from(entries, "other/a.py", "my_pkg_other.py")
    assert not Distributions.read(tree)[name].recorded
    return owned(tree, name)


def test_without_a_record_the_name_tells_the_files() -> None:
    assert unrecorded("my_pkg/a/b.py", "my_pkg/data") == ["my_pkg/a/b.py", "my_pkg/data"]
    assert unrecorded("my_pkg.py") == ["my_pkg.py"]
    assert unrecorded("my_pkg/a.py", "my_pkg.libs/x.so", top_level="") == [
        "my_pkg.libs/x.so",
        "my_pkg/a.py",
    ]


def test_without_a_record_top_level_tells_the_files() -> None:
    files = "yaml/a.py", "_yaml/b.py", "single.py"
    assert unrecorded(*files, top_level="yaml\n_yaml\nsingle\n") == sorted(files)


@pytest.mark.parametrize("top_level", ["..", "/", ".", "../x", "other/../other", "\0"])
def test_without_a_record_a_strange_top_level_owns_nothing(top_level: str) -> None:
    assert unrecorded("my_pkg/a.py", top_level=top_level) == []


@pytest.mark.parametrize("text", ["Name: \nVersion: 1.0\n", "Name:\nVersion: 1.0\n"])
def test_without_a_record_an_empty_name_does_not_own_everything(text: str) -> None:
    found = read({"x-1.0.dist-info/METADATA": text, "handler.py": "", "tests/a.py": ""})
    assert found.owner("handler.py") is None
    assert found.owner("tests/a.py") is None


def test_a_nameless_directory_does_not_own_everything() -> None:
    found = read({"-1.0.dist-info/WHEEL": "", "handler.py": ""})
    assert found.owner("handler.py") is None


# egg-info.


def test_an_egg_info_directory_lists_its_files() -> None:
    tree = tree_from(
        {
            "pkg-1.0-py3.8.egg-info/PKG-INFO": "Name: pkg\nVersion: 1.0\n",
            "pkg-1.0-py3.8.egg-info/installed-files.txt": "../pkg.py\n../../../bin/x\nPKG-INFO\n",
            "pkg-1.0-py3.8.egg-info/requires.txt": "six>=1\n[extra]\nboto3\n[:os_name=='nt']\na\n",
            "pkg.py": "",
            "mine.py": "",
        }
    )
    found = Distributions.read(tree)
    assert owned(tree) == ["pkg.py"]
    assert (found["pkg"].version, found["pkg"].recorded) == ("1.0", True)
    assert [requirement.name for requirement in found["pkg"].requires] == ["six", "boto3", "a"]
    assert "extra" in str(found["pkg"].requires[1].marker)


def test_an_egg_info_without_a_version_takes_it_from_the_directory() -> None:
    found = read({"My_Pkg-1.5-py3.8.egg-info/PKG-INFO": "Metadata-Version: 1.0\n"})
    assert [one.label for one in found.values()] == ["my-pkg 1.5"]


def test_an_egg_info_file_is_a_distribution(tmp_path: Path) -> None:
    tree = tree_from({"pkg-1.0-py3.8.egg-info": "Name: pkg\nVersion: 1.0\nRequires-Dist: six\n"})
    found = Distributions.read(tree)
    known = importlib.metadata.distributions(path=[str(on_disk(tree, tmp_path))])
    assert list(found) == [one.metadata["Name"] for one in known] == ["pkg"]
    assert found["pkg"].version == "1.0"
    assert "metadata-absent" not in codes(found)


# Names and versions.


@pytest.mark.parametrize("name", ["Zope.Interface", "zope_interface", "ZOPE--interface"])
def test_names_are_normalised(name: str) -> None:
    found = read(dist(name, "1.0"))
    assert list(found) == ["zope-interface"]
    assert found["Zope_Interface"] is found["zope-interface"]
    assert "ZOPE.INTERFACE" in found


def test_metadata_counts_and_not_the_name_of_the_directory() -> None:
    found = read(dist("real-name", "2.0", info="other-1.0.dist-info"))
    assert [one.label for one in found.values()] == ["real-name 2.0"]


def test_without_metadata_the_name_of_the_directory_counts() -> None:
    found = read(without(dist("My-Pkg", "1.0"), "METADATA"))
    assert [one.label for one in found.values()] == ["my-pkg 1.0"]
    assert codes(found) == ["metadata-malformed"]


@pytest.mark.parametrize("version", ["", "unknown", "1.0-oops!", "2004d-x"])
def test_a_version_that_is_none_is_unknown(version: str) -> None:
    found = read({f"{INFO}/METADATA": f"Name: pkg\nVersion: {version}\n"})
    assert found["pkg"].version is None
    assert found["pkg"].label == "pkg (unknown version)"


def test_versions_are_normalised() -> None:
    assert read(dist("pkg", "01.0-RC1"))["pkg"].version == "1.0rc1"


def test_malformed_requirements_are_told_apart() -> None:
    found = read(dist("pkg", requires=["six", "boto3>=", "??", "a; python_version <"]))["pkg"]
    assert [requirement.name for requirement in found.requires] == ["six"]
    assert found.malformed == ("boto3>=", "??", "a; python_version <")


@pytest.mark.parametrize(
    ("line", "name"),
    [("Boto_3>=x", "boto-3"), (" six ", "six"), ("a[b", "a"), ("??", None), ("", None)],
)
def test_name_of_a_malformed_requirement(line: str, name: str | None) -> None:
    assert required_name(line) == name


# Metadata that is no metadata.


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"<html>\n</html>\n", b"\n\nName: late\n", b"\xff\xfe\x00"]
)
def test_row_63_malformed_metadata_is_reported(data: bytes) -> None:
    entries = without(dist("pkg"), "METADATA")
    found = read(entries, [Entry.of(f"{INFO}/METADATA", data)])
    assert found["pkg"].label == "pkg 1.0"
    assert codes(found) == ["metadata-malformed"]


def test_metadata_that_is_not_utf_8_is_read() -> None:
    data = "Name: pkg\nAuthor: Jörg\nVersion: 2.0\nRequires-Dist: six\n".encode("latin-1")
    found = read([Entry.of(f"{INFO}/METADATA", data)])["pkg"]
    assert (found.version, [str(one) for one in found.requires]) == ("2.0", ["six"])


BIG = 10 * 1024 * 1024
HUGE: dict[str, Callable[[], str]] = {
    "readme": lambda: metadata("pkg", "1.0", ["six"], body="A line of text.\n" * (BIG // 16)),
    "one-line": lambda: metadata("pkg", "1.0", ["six"]) + "x" * BIG,
    "folded": lambda: "Name: pkg\nVersion: 1.0\nSummary: a\n" + " b\n" * (BIG // 3),
    "headers": lambda: "Name: pkg\nVersion: 1.0\n" + "Classifier: x\n" * (BIG // 14),
    "requirements": lambda: metadata("pkg", "1.0", ["six"] * (BIG // 19)),
    "header-line": lambda: "Name: pkg\nVersion: 1.0\nSummary: " + "x" * BIG,
    "newlines": lambda: "\n" * BIG,
}


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_row_63_huge_metadata_is_read_in_bounded_time(text: Callable[[], str]) -> None:
    entries = without(dist("pkg"), "METADATA")
    tree = tree_from(entries, {f"{INFO}/METADATA": text()})
    start = time.process_time()
    found = Distributions.read(tree)
    assert time.process_time() - start < 10
    assert found["pkg"].label == "pkg 1.0"


def test_a_requirement_after_a_huge_description_counts() -> None:
    description = "Description: A README\n" + "        of many lines\n" * 100_000
    text = f"Name: pkg\nVersion: 1.0\n{description}Requires-Dist: six\n"
    found = read({f"{INFO}/METADATA": text})
    assert [str(one) for one in found["pkg"].requires] == ["six"]


def test_huge_records_are_read_in_bounded_time() -> None:
    names = [f"pkg/module_{number}.py" for number in range(50_000)]
    start = time.process_time()
    found = read(dist("pkg", files=names))
    assert time.process_time() - start < 10
    assert len(found["pkg"].files) > 50_000


def test_no_metadata_at_all_is_a_finding() -> None:
    found = read("handler.py", "six.py")
    assert (list(found), codes(found)) == ([], ["metadata-absent"])
    assert found.owner("six.py") is None


def test_an_empty_tree_has_no_distributions() -> None:
    assert codes(Distributions.read(Tree())) == ["metadata-absent"]


# Cached bytecode.


def test_caches_of_owned_sources_are_owned() -> None:
    mine, theirs = cache_path("pkg/mine.py"), cache_path("pkg/__init__.py")
    optimised = cache_path("pkg/__init__.py", f"{TAG}.opt-2")
    tree = with_record("pkg/__init__.py,,\n", mine, theirs, optimised, "pkg/mine.py")
    assert owned(tree) == ["pkg/__init__.py", optimised, theirs]


def test_caches_at_the_top_are_owned() -> None:
    cache = cache_path("six.py")
    assert owned(tree_from(dist("six", files=["six.py"]), cache), "six") == [cache, "six.py"]


def test_recorded_caches_are_owned_without_their_source() -> None:
    cache = cache_path("pkg/gone.py")
    assert owned(with_record(f"{cache},,\n", cache)) == [cache]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("a/__pycache__/b.cpython-313.pyc", "a/b.py"),
        ("__pycache__/b.cpython-313.opt-1.pyc", "b.py"),
        ("a/__pycache__/b.c.cpython-313.pyc", "a/b.c.py"),
        ("a/__pycache__/b.pypy39.pyc", "a/b.py"),
        ("a/b.pyc", "a/b.py"),
        ("a__pycache__/b.pyc", "a__pycache__/b.py"),
        ("a/__pycache__/b.pyc", None),
        ("a/__pycache__/b.f-1.py313.nbi", None),
        ("a/b.py", None),
        ("a/b.pyo", None),
    ],
)
def test_source_of_bytecode(path: str, source: str | None) -> None:
    assert source_of(path) == source


# Several in one tree.


def test_distributions_below_a_prefix() -> None:
    found = read(dist("one", root="python"), dist("two"), dist("three", root="a/b"))
    assert {one.name: one.root for one in found.values()} == {
        "one": "python",
        "three": "a/b",
        "two": "",
    }
    assert "a/b/three/__init__.py" in found["three"].files


def test_a_vendored_distribution_belongs_to_its_vendor() -> None:
    inner = dist("inner", root="outer/_vendor")
    found = read(dist("outer", files={e.path: e.read() for e in inner}))
    assert list(found) == ["outer"]
    assert found.owner("outer/_vendor/inner/__init__.py") is found["outer"]


def test_metadata_inside_metadata_is_no_distribution() -> None:
    found = read(dist("pkg"), f"{INFO}/inner-1.0.dist-info/METADATA")
    assert list(found) == ["pkg"]


def test_duplicates_own_what_each_records() -> None:
    old, new = dist("pkg", "1.0", ["pkg.py", "old.py"]), dist("pkg", "2.0", ["pkg.py", "new.py"])
    found = read(old, without(new, "pkg.py"))
    assert list(found) == ["pkg"]
    assert [owner.version for owner in found.owners["old.py"]] == ["1.0"]
    assert [owner.version for owner in found.owners["new.py"]] == ["2.0"]
    assert [owner.version for owner in found.owners["pkg.py"]] == ["1.0", "2.0"]


def test_of_duplicates_the_newer_version_is_taken() -> None:
    assert (
        read(dist("pkg", "1.10", ["a.py"]), dist("pkg", "1.9", ["b.py"]))["pkg"].version == "1.10"
    )


def test_order_of_the_entries_does_not_matter() -> None:
    entries = [*dist("one"), *dist("two", root="python"), *dist("one", "2.0", ["other.py"])]
    forwards, backwards = read(entries), read(entries[::-1])
    assert dict(forwards) == dict(backwards)
    assert dict(forwards.owners) == dict(backwards.owners)


# Headers.


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"", b""),
        (b"no header", b""),
        (b"\nName: x\n", b""),
        (b"Name: x", b"Name: x\n"),
        (b"Name: x\n\nbody: y\n", b"Name: x\n"),
        (b"Name: x\r\nA: b\r\n c\r\n\r\nbody\r\n", b"Name: x\nA: b\n c\n"),
        (b"Name: x\nDescription: a\n  b\n\tc\nB: c\n", b"Name: x\nB: c\n"),
        (b"description:a\nName: x\n", b"Name: x\n"),
        (b"Description-Content-Type: a\nName: x\n", b"Description-Content-Type: a\nName: x\n"),
        (b"Name: x\ngarbage\nB: c\n", b"Name: x\n"),
    ],
)
def test_headers(data: bytes, headers: bytes) -> None:
    assert metadata_headers(data) == headers
    assert metadata_headers(headers) == headers
