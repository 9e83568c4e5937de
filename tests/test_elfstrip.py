"""What is taken out of ELF files, and that a loader finds the rest as it was."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import sysconfig
import tracemalloc
from itertools import islice
from pathlib import Path
from shutil import which

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elves import DEAD, MACH_O, Row, elf, linked
from lambdaslim.elf import AARCH64, MAGIC, PT_LOAD, X86_64, Image, MalformedElfError, read
from lambdaslim.elfstrip import (
    Copy,
    Followed,
    Outcome,
    Part,
    Stripped,
    Zeros,
    difference,
    follow,
    reading,
    strip,
)
from lambdaslim.elftable import NULL, Section, read_table
from lambdaslim.errors import ChangedError
from lambdaslim.scanner import scan

ALIVE = [b"", b".dynstr", b".dynamic", b".text"]
WAYS = pytest.mark.parametrize("close", [False, True])
LATE = b"what patchelf has put behind everything" * 20


def made(data: bytes, *, close: bool = False) -> bytes:
    outcome = strip(data, close=close)
    assert outcome.left is None
    assert outcome.parts
    return follow(outcome.parts, data)


def sections(data: bytes) -> tuple[Section, ...]:
    return read_table(Image(data)).sections


def left(data: bytes) -> str:
    outcome = strip(data)
    assert not outcome.parts
    assert strip(data, close=True).parts == ()
    return outcome.left or ""


@WAYS
@pytest.mark.parametrize("machine", [X86_64, AARCH64])
@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("extended", [False, True])
def test_what_no_loader_reads_goes(
    machine: int, kind: int, *, first: bool, extended: bool, close: bool
) -> None:
    data = linked(machine=machine, kind=kind, table_first=first, extended=extended)
    new = made(data, close=close)
    assert [one.name for one in sections(new)] == [*ALIVE, b".shstrtab"]
    assert read(new) == read(data)
    assert len(data) - len(new) >= sum(len(row.data) for row in DEAD)
    assert difference(data, new, moved=False) is None
    assert strip(new, close=close) == Outcome()


def test_the_table_lies_right_behind_what_is_loaded() -> None:
    data = linked()
    new = made(data)
    end = max(one.end for one in Image(data).segments)
    changed = [n for n in range(end) if data[n] != new[n]]
    assert {*changed} <= {*range(0x28, 0x30), *range(0x3C, 0x40)}
    table = read_table(Image(new))
    assert table.end == len(new)
    assert table.sections[-1].offset == end
    assert 0 <= table.offset - table.sections[-1].end < 8


def test_sections_keep_their_numbers_and_lose_links_to_what_is_gone() -> None:
    late = Row(".got", flags=2, size=8, link=8, info=5, data=b"8 bytes.", kind=4)
    new = sections(made(linked(dead=[*DEAD[:5], DEAD[5], late])))
    old = sections(linked(dead=[*DEAD[:5], DEAD[5], late]))
    number = [one.name for one in old].index(b".got")
    assert new[number].name == b".got"
    assert (new[number].link, new[number].info) == (0, 0)
    assert {one.kind for one in new[4:number]} == {NULL}
    assert new[2].link == 1


@pytest.mark.parametrize("alignment", [0x1000, 0x10000])
def test_a_hole_becomes_zeros(alignment: int) -> None:
    data = linked(late=LATE, alignment=alignment)
    new = made(data)
    start = max(one.end for one in sections(data)[:4])
    late = Image(data).segments[2].offset
    assert new[start:late] == bytes(late - start)
    assert Image(new).segments == Image(data).segments
    assert strip(new).parts == ()


def test_a_hole_is_closed_in_whole_pages() -> None:
    data = linked(late=LATE)
    new = made(data, close=True)
    old_late, new_late = Image(data).segments[2], Image(new).segments[2]
    assert 0 < new_late.offset < old_late.offset
    assert (old_late.offset - new_late.offset) % 0x1000 == 0
    assert new[new_late.offset : new_late.end] == LATE
    assert sections(new)[10].offset == new_late.offset
    assert Image(new).segments[:2] == Image(data).segments[:2]
    assert strip(data).holes == old_late.offset - new_late.offset
    assert strip(new, close=True) == strip(new) == Outcome()
    assert made(made(data), close=True) == new


def test_a_hole_smaller_than_the_alignment_stays() -> None:
    data = linked(late=LATE, alignment=0x200000)
    assert made(data, close=True) == made(data)
    assert strip(data).holes == 0


@WAYS
def test_a_table_that_patchelf_left_is_no_data(*, close: bool) -> None:
    data = linked(dead=())
    table = read_table(Image(data))
    old = data[table.offset : table.end]
    hole = Row(".debug_line", data=bytes(32) + old + bytes(20))
    patched = bytearray(linked(dead=[hole], late=LATE))
    # The section ends where the old table begins, so that nothing claims it.
    struct.pack_into("<Q", patched, read_table(Image(bytes(patched))).offset + 4 * 64 + 32, 32)
    assert LATE in made(bytes(patched), close=close)
    patched[bytes(patched).index(old) + 64 : bytes(patched).index(old) + 128] = b"x" * 64
    assert "nothing tells what its bytes from" in left(bytes(patched))


@pytest.mark.parametrize("data", [b"PK\x05\x06" + bytes(18), bytes(99) + b"x", MACH_O])
def test_a_file_with_something_appended_is_left_alone(data: bytes) -> None:
    assert left(linked(appended=data)) == "something is appended to it"


def test_appended_zeros_are_nothing() -> None:
    assert made(linked(appended=bytes(5))) == made(linked())


def test_a_section_of_an_unknown_name_is_left_alone() -> None:
    assert left(linked(dead=[*DEAD, Row("pydata", data=b"an archive")])) == (
        "its section pydata is not loaded, and may be data of its own"
    )


@WAYS
@pytest.mark.parametrize(("address", "alone"), [(0x9010, True), (0x9000, False)])
def test_a_segment_without_bytes_may_need_a_page_of_the_file(
    address: int, *, close: bool, alone: bool
) -> None:
    # glibc maps the page that holds the address, and zeroes it from there on.
    data = linked()
    row = struct.pack("<IIQQQQQQ", PT_LOAD, 6, 0x3010, address, address, 0, 9, 0x1000)
    outcome = strip(data[:120] + row + data[176:], close=close)
    assert bool(outcome.left) is alone
    assert bool(outcome.parts) is not alone


def test_an_unloaded_section_inside_a_segment_stays() -> None:
    data = linked(dead=[Row(".late.debug", data=b"\0"), *DEAD], late=LATE)
    old = sections(data)
    place = old[0].offset + Image(data).segments[2].offset
    inside = bytearray(data)
    table = read_table(Image(data)).offset
    struct.pack_into("<QQ", inside, table + 4 * 64 + 24, place, 10)
    new = made(bytes(inside))
    assert sections(new)[4].name == b".late.debug"
    assert sections(new)[4].offset == place


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (linked(kind=1), "an object file, which linkers read"),
        (linked(kind=4), "an ELF file of a kind that is no code"),
        (linked(machine=247), "an ELF file for another machine, which programs may read as data"),
        (elf(bits=32), "an ELF file for another machine, which programs may read as data"),
        (elf(order=">"), "an ELF file for another machine, which programs may read as data"),
        (
            linked(dead=[*DEAD, Row(".text.hot", kind=8, flags=6, size=99)]),
            "a file of debugging information",
        ),
    ],
)
def test_files_of_other_kinds_are_left_alone(data: bytes, why: str) -> None:
    assert left(data) == why


@pytest.mark.parametrize("data", [linked(dead=()), elf()])
def test_a_file_without_anything_to_drop_is_nothing_to_talk_about(data: bytes) -> None:
    assert strip(data) == Outcome()


def patched(data: bytes, *changes: tuple[int, str, int]) -> bytes:
    new = bytearray(data)
    for offset, layout, value in changes:
        struct.pack_into(f"<{layout}", new, offset, value)
    return bytes(new)


ROWS = read_table(Image(linked())).offset


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([(4, "B", 9)], "is of an unknown class or byte order"),
        ([(0x28, "Q", 1 << 40)], "ends before its byte"),
        ([(0x28, "Q", len(linked()) - 70)], "has more section headers than fit"),
        ([(0x3A, "H", 40)], "has section headers of another size"),
        ([(0x3C, "H", 0xFEFF)], "has more section headers than fit"),
        ([(0x3C, "H", 0), (ROWS + 32, "Q", 1 << 60)], "has more section headers than fit"),
        ([(0x3E, "H", 70)], "has no section with the names of the others"),
        ([(0x3E, "H", 0xFFFF), (ROWS + 40, "I", 1 << 31)], "has no section with the names"),
        ([(0x3E, "H", 0)], "has a section with a name without an end"),
        ([(ROWS + 64, "I", 1 << 31)], "has a section with a name without an end"),
        ([(ROWS + 5 * 64 + 32, "Q", 1 << 62)], "ends before its last section"),
        ([(0x36, "H", 20)], "has program headers that are too short"),
        ([(0x36, "H", 57)], "has program headers of another size"),
        ([(0x38, "H", 0)], "has nothing to load"),
        ([(64 + 32, "Q", 1 << 40)], "ends before its last segment"),
        ([(64 + 56 + 8, "Q", 1)], "has "),
    ],
)
def test_malformed_files_are_left_alone(changes: list[tuple[int, str, int]], why: str) -> None:
    assert left(patched(linked(), *changes)).startswith(f"a malformed ELF file: it {why}")


def test_an_alignment_that_is_none_is_malformed() -> None:
    assert "no power of two" in left(patched(linked(late=LATE), (64 + 2 * 56 + 48, "Q", 0x3001)))


@pytest.mark.parametrize("size", range(4, len(linked()), 97))
def test_truncated_files_are_left_alone(size: int) -> None:
    assert left(linked()[:size]).startswith("a malformed ELF file")


def proven(data: bytes, *, close: bool) -> None:
    """Strip; either the file is left alone, or the loader finds in the new one what was there."""
    outcome = strip(data, close=close)
    if outcome.parts:
        new = follow(outcome.parts, data)
        assert len(new) <= len(data)
        assert difference(data, new, moved=close) is None
        assert strip(new, close=close).parts == ()


@WAYS
@given(data=st.binary(max_size=300))
def test_any_bytes_behind_the_magic_are_left_alone(data: bytes, *, close: bool) -> None:
    assert strip(MAGIC + data, close=close).parts == ()


edits = st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))


@WAYS
@settings(max_examples=200)
@given(
    data=st.sampled_from([linked(), linked(late=LATE), linked(table_first=True, late=LATE)]),
    # Most of what can be wrong is in the headers.
    changes=st.lists(edits | edits.map(lambda e: (e[0] % 232, e[1])), min_size=1, max_size=4),
    table=st.lists(edits, max_size=3),
)
@example(data=linked(), changes=[(0x38, b"\xff\xff")], table=[])
def test_mutations_are_left_alone_or_proven(
    data: bytes, changes: list[tuple[int, bytes]], table: list[tuple[int, bytes]], *, close: bool
) -> None:
    new = bytearray(data)
    rows = read_table(Image(data))
    places = [(rows.offset + at % (rows.end - rows.offset), some) for at, some in table]
    for at, some in [*((at % len(data), some) for at, some in changes), *places]:
        new[at : at + len(some)] = some[: max(0, len(new) - at)]
    proven(bytes(new), close=close)


@pytest.mark.parametrize(
    ("at", "what"),
    [
        (0x10, "header"),
        (0x18, "header"),
        (0x34, "header"),
        (64 + 4, "program headers"),
        (64 + 8, "program headers"),
        (64 + 16, "program headers"),
        (64 + 56 + 32, "program headers"),
        (linked().index(b"libc.so.6"), "loaded bytes"),
        (linked().index(b"\xc3\xc3"), "loaded bytes"),
    ],
)
def test_the_proof_sees_every_byte_that_a_loader_sees(at: int, what: str) -> None:
    data = linked()
    new = bytearray(made(data))
    new[at] ^= 1
    try:
        assert difference(data, bytes(new), moved=False) == what
    except MalformedElfError:
        assert what == "header"


def test_the_proof_sees_a_segment_that_moved_without_need_or_not_in_whole_pages() -> None:
    data = linked(late=LATE)
    new = made(data, close=True)
    assert difference(data, new, moved=False) == "program headers"
    at = 64 + 2 * 56 + 8
    (place,) = struct.unpack_from("<Q", new, at)
    assert difference(data, patched(new, (at, "Q", place - 8)), moved=True) == "program headers"


def test_the_proof_sees_sections_that_are_lost_or_renamed() -> None:
    data = linked()
    new = made(data)
    rows = read_table(Image(new)).offset
    (name,) = struct.unpack_from("<I", new, rows + 64)
    assert difference(data, patched(new, (rows + 64, "I", name + 1)), moved=False) == "sections"
    assert difference(data, patched(new, (0x28, "Q", 0)), moved=False) == "sections"


def test_a_recipe_holds_no_copy_of_the_file() -> None:
    outcome = strip(linked(late=LATE * 1000), close=True)
    assert sum(len(one) for one in outcome.parts if isinstance(one, bytes)) < 2_000
    assert any(isinstance(one, Copy) for one in outcome.parts)


def real() -> list[Path]:
    """Return extension modules that are here anyway: this interpreter's, and compiled packages."""
    places = (Path(sysconfig.get_path("platstdlib")) / "lib-dynload", sysconfig.get_path("platlib"))
    return [p for place in places for p in islice(sorted(Path(place).rglob("*.so")), 20)]


@pytest.mark.skipif(sys.platform != "linux", reason="loads Linux libraries")
@WAYS
def test_real_modules_load_as_before(tmp_path: Path, *, close: bool) -> None:
    code = "import ctypes, sys\nfor path in sys.argv[1:]: ctypes.CDLL(path)"
    stripped = []
    for number, path in enumerate(real()):
        outcome = strip(data := path.read_bytes(), close=close)
        assert outcome.left is None, path
        if outcome.parts:
            new = tmp_path / f"{number}.so"
            new.write_bytes(follow(outcome.parts, data))
            stripped.append(str(new))
    subprocess.run([sys.executable, "-c", code, *stripped], check=True)


@pytest.mark.skipif(which("readelf") is None, reason="no readelf to compare with")
@WAYS
@pytest.mark.parametrize("late", [b"", LATE])
def test_readelf_reads_the_result_without_a_complaint(
    tmp_path: Path, late: bytes, *, close: bool
) -> None:
    path = tmp_path / "a.so"
    path.write_bytes(made(linked(late=late), close=close))
    command = [
        "readelf",
        "--wide",
        "--file-header",
        "--sections",
        "--segments",
        "--dynamic",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    names = re.findall(r"^ +\[ *\d+\] (\.\S+)", done.stdout, re.MULTILINE)
    expected = [".dynstr", ".dynamic", ".text", *([".late"] if late else []), ".shstrtab"]
    assert names == expected


recipe_parts = st.one_of(
    st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda ab: Copy(min(ab), max(ab))),
    st.integers(0, 50).map(Zeros),
    st.binary(max_size=20),
)


@given(
    st.lists(recipe_parts, max_size=6), st.integers(0, 2_000), st.integers(0, 2_000), st.binary()
)
def test_what_a_recipe_makes_is_the_same_in_parts(
    parts: list[Part], start: int, stop: int, noise: bytes
) -> None:
    data = (noise + bytes(range(256)) * 2)[:300]
    expected = b"".join(
        data[one.start : one.stop]
        if isinstance(one, Copy)
        else bytes(one.count)
        if isinstance(one, Zeros)
        else one
        for one in parts
    )
    made = Followed(parts, reading(data))
    assert follow(parts, data) == expected
    assert len(made) == len(expected)
    assert made[start:stop] == expected[start:stop]


def test_a_stripped_file_is_read_without_the_whole_original(tmp_path: Path) -> None:
    megabyte = 1 << 20
    data = b"".join(bytes([number]) * megabyte for number in range(40))
    (tmp_path / "a.so").write_bytes(data)
    (original,) = scan(tmp_path).values()
    parts = (Copy(0, 15 * megabyte + 7), Zeros(5), b"end", Copy(20 * megabyte, 40 * megabyte))
    content = Stripped(original.content, parts)
    tracemalloc.start()
    try:
        made = content.read()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made == follow(parts, data)
    assert len(made) == content.size
    assert peak < len(made) + 4 * megabyte


def test_an_original_that_has_changed_is_no_longer_read(tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(bytes(100))
    (original,) = scan(tmp_path).values()
    content = Stripped(original.content, (Copy(0, 50),))
    assert content.read() == bytes(50)
    (tmp_path / "a.so").write_bytes(bytes(40))
    with pytest.raises(ChangedError):
        content.read()
