"""What the pass makes of whole trees; what it makes of one file is in test_elfstrip.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import pytest

from elves import DEAD, linked
from lambdaslim import Entry, Pipeline, Tree, preset, scan, slim
from lambdaslim.elfstrip import Stripped
from lambdaslim.errors import UsageError
from lambdaslim.findings import Finding, Severity
from lambdaslim.passes import StripElf
from lambdaslim.pipeline import Result
from lambdaslim.target import Target
from lambdaslim.tree import Bytes, DiskFile
from lambdaslim.undo import undone
from trees import on_disk, tree_from

LIBRARY = linked()
HOLED = linked(late=b"moved by patchelf" * 99, dead=[*DEAD, *DEAD], alignment=0x20000)


def run(tree: Tree, holes: Literal["zero", "close"] = "zero", keep: tuple[str, ...] = ()) -> Result:
    result = Pipeline((StripElf(holes=holes),), keep=keep).run(tree)
    again = Pipeline((StripElf(holes=holes),), keep=keep).run(result.after)
    assert again.changes == ()
    return result


def noticed(result: Result) -> list[Finding]:
    return [one for one in result.findings if one.code.startswith("elf-")]


def test_files_are_found_by_what_they_hold() -> None:
    names = ["a/b.cpython-313-x86_64-linux-gnu.so", "a.libs/libz.so.1.2", "bin/tool", "data.bin"]
    result = run(tree_from(dict.fromkeys([*names, "odd.py"], LIBRARY)))
    assert [change.path for change in result.changes] == sorted(names)
    assert {change.reason for change in result.changes} == {"without what no loader reads"}


def test_other_files_and_short_ones_are_left_alone() -> None:
    tree = tree_from({"a.so": b"text" * 99, "b.so": b"\x7fELF", "c.so": b"", "d.txt": "ELF" * 99})
    assert (run(tree).changes, run(tree).kept) == ((), ())


def test_the_mode_stays() -> None:
    tree = Tree([Entry.of("bin/tool", LIBRARY, executable=True), Entry.of("a.so", LIBRARY)])
    after = run(tree).after
    assert (after["bin/tool"].executable, after["a.so"].executable) == (True, False)


def test_sizes_are_those_of_the_contents() -> None:
    result = run(tree_from({"a.so": LIBRARY, "b.so": HOLED}), "close")
    assert all(entry.size == len(entry.read()) for entry in result.after.values())
    assert result.saved == len(LIBRARY) + len(HOLED) - result.after.size > 0


def test_a_replacement_is_made_of_the_original_when_it_is_read() -> None:
    tree = tree_from({"a.so": LIBRARY})
    content = run(tree).after["a.so"].content
    assert isinstance(content, Stripped)
    assert content.original is tree["a.so"].content
    assert content == run(tree_from({"a.so": LIBRARY})).after["a.so"].content
    assert len(repr(content.parts)) < len(LIBRARY)


@pytest.mark.parametrize(
    ("library", "checksum"),
    [
        ("nss/libsoftokn3.so", "nss/libsoftokn3.chk"),
        ("libgcrypt.so.20", ".libgcrypt.so.20.hmac"),
        ("a/libgnutls.so.30", "a/libgnutls.so.30.hmac"),
        ("a/ossl-modules/fips.so", "a/ssl/fipsmodule.cnf"),
    ],
)
def test_libraries_with_a_checksum_stay(library: str, checksum: str) -> None:
    result = run(tree_from({library: LIBRARY}, checksum))
    assert result.changes == ()
    assert [(one.path, one.reason) for one in result.kept] == [
        (library, f"{checksum} may hold a checksum of it")
    ]
    assert run(tree_from({library: LIBRARY})).changes


def test_keep_patterns_and_undoing_hold() -> None:
    tree = tree_from({"a.so": LIBRARY, "b.so": LIBRARY})
    assert [one.path for one in run(tree, keep=("a.so",)).changes] == ["b.so"]
    assert undone(run(tree), ["a.so"])["a.so"].read() == LIBRARY


def test_holes_are_reported_where_they_stay() -> None:
    tree = tree_from({"a/b.so": HOLED, "a/c.so": HOLED[:-1] + b"\1", "d.so": LIBRARY})
    assert noticed(run(tree, "close")) == []
    big = linked(late=b"x" * 99, dead=[*DEAD * 20])
    found = noticed(run(tree_from({"a/b.so": big, "c.so": big + b"\0"})))
    assert [(one.code, one.severity, one.path) for one in found] == [
        ("elf-holes", Severity.INFO, "a/b.so")
    ]
    assert found[0].message.startswith("2 native files hold ")
    assert "a/b.so (" in found[0].message


def test_copies_are_reported_and_stay() -> None:
    large = linked(dead=DEAD * 20)
    tree = tree_from({"a.libs/libz.so": large, "b.libs/libz.so": large, "c.so": large[:-1] + b"\1"})
    result = run(tree)
    assert [(one.code, one.path, one.message) for one in noticed(result)] == [
        (
            "elf-duplicate-library",
            "a.libs/libz.so",
            f"{len(large):,} bytes are copies of one native file: a.libs/libz.so, b.libs/libz.so",
        )
    ]
    assert set(result.after) == set(tree)


def test_another_way_with_holes_is_refused() -> None:
    with pytest.raises(UsageError, match="is no way with holes"):
        StripElf(holes="fill")  # type: ignore[arg-type] # what a user may write


def test_only_the_beginning_of_a_file_is_read_to_tell_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = scan(on_disk(tree_from({"a.json": b"{}" * 99, "b.bin": b"x" * 99}), tmp_path))
    monkeypatch.setattr(DiskFile, "read", lambda _: pytest.fail("was read whole"))
    assert run(tree).changes == ()
    assert tree["a.json"].head(4) == b"{}{}"


def test_the_head_of_a_content_in_memory() -> None:
    assert Entry("a", 3, executable=False, content=Bytes(b"abc")).head(2) == b"ab"


@pytest.mark.parametrize(("name", "way"), [("safe", "close"), ("small", "close")])
def test_presets(name: str, way: str) -> None:
    steps = preset(name, Target.of("python3.13"))
    assert [step.holes for step in steps if isinstance(step, StripElf)] == [way]


def test_slim_writes_the_smaller_files(tmp_path: Path) -> None:
    source = on_disk(tree_from({"a/libx.so": LIBRARY, "a/__init__.py": ""}), tmp_path / "source")
    outcome = slim(source, tmp_path / "out", runtime="python3.13", passes=(StripElf(),))
    assert outcome.result.saved > 0
    assert (tmp_path / "out/a/libx.so").stat().st_size == outcome.result.after["a/libx.so"].size
    assert (source / "a/libx.so").read_bytes() == LIBRARY


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
def test_one_file_at_a_time_is_in_memory(tmp_path: Path) -> None:
    import tracemalloc  # noqa: PLC0415 - slows down what imports it for nothing

    size = 4_000_000
    for number in range(8):
        row = DEAD[1].__class__(".debug_info", data=bytes([number + 1]) * size)
        (tmp_path / f"{number}.so").write_bytes(linked(dead=[row]))
    tracemalloc.start()
    try:
        result = run(scan(tmp_path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(result.changes) == 8
    assert peak < 3 * size
