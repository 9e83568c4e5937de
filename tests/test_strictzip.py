"""The strict reader accepts the one layout of lambdaslim's zips, and nothing else."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambdaslim import strictzip
from lambdaslim.errors import ArchiveError
from lambdaslim.strictzip import RULES, ReadBack, read_back
from lambdaslim.tree import Entry, Tree
from malformed_zips import (
    DEFLATED,
    MALFORMED,
    SMALL,
    STORED,
    TEXT,
    WELL_FORMED,
    Part,
    deflated,
    expected,
    local_header,
    noise,
    zip_of,
)

SMALL_ZIPS = {name: zip_of(*WELL_FORMED[name]) for name in SMALL}
# The examples of one property share a directory on purpose: each overwrites the file.
each_overwrites = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=[None, 1], ids=["one-part", "many-parts"], autouse=True)
def _parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the members read together, and each by itself."""
    if request.param is not None:
        monkeypatch.setattr(strictzip, "_PART", request.param)


def judge(directory: Path, data: bytes) -> ReadBack:
    location = directory / "judged.zip"
    location.write_bytes(data)
    return read_back(location)


def rejected(directory: Path, data: bytes) -> bool:
    try:
        judge(directory, data)
    except ArchiveError:
        return True
    return False


def seen(answer: ReadBack) -> list[tuple[str, bool, int, int, str]]:
    return [
        (member.path, member.executable, member.size, member.compressed, member.sha256)
        for member in answer.members
    ]


def deflate_bytes(parts: tuple[Part, ...]) -> set[int]:
    """Return the offsets of the bytes that belong to deflate streams."""
    offsets: set[int] = set()
    position = 0
    for part in parts:
        position += len(local_header(part))
        if part.method == DEFLATED:
            offsets.update(range(position, position + len(part.compressed)))
        position += len(part.compressed)
    return offsets


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_zip_is_rejected_by_the_rule_it_breaks(name: str, tmp_path: Path) -> None:
    malformed = MALFORMED[name]
    with pytest.raises(ArchiveError) as caught:
        judge(tmp_path, malformed.make())
    assert f"breaks rule '{malformed.rule}' ({RULES[malformed.rule]})" in caught.value.what
    assert caught.value.where == str(tmp_path / "judged.zip")


def test_every_rule_is_broken_by_some_malformed_zip() -> None:
    assert {malformed.rule for malformed in MALFORMED.values()} == set(RULES) - {"file"}


def test_malformed_zips_are_distinct() -> None:
    assert len({malformed.make() for malformed in MALFORMED.values()}) == len(MALFORMED)


@pytest.mark.parametrize("name", WELL_FORMED)
def test_a_good_zip_is_accepted_with_its_content(name: str, tmp_path: Path) -> None:
    parts = WELL_FORMED[name]
    assert seen(judge(tmp_path, zip_of(*parts))) == expected(parts)


@pytest.mark.parametrize("name", WELL_FORMED)
def test_the_digest_is_that_of_the_tree(name: str, tmp_path: Path) -> None:
    parts = WELL_FORMED[name]
    tree = Tree(
        Entry.of(part.raw_name.decode(), part.data, executable=part.executable) for part in parts
    )
    assert judge(tmp_path, zip_of(*parts)).content_digest == tree.digest()


def test_a_zip_without_members_is_an_empty_tree(tmp_path: Path) -> None:
    assert judge(tmp_path, zip_of()) == ReadBack((), Tree().digest())


def test_the_digest_depends_on_the_mode_but_not_on_the_compressor(tmp_path: Path) -> None:
    deflate, stored = Part("a", TEXT), Part("a", TEXT, method=STORED)
    digests = [
        judge(tmp_path, zip_of(part)).content_digest
        for part in (deflate, stored, Part("a", TEXT, executable=True))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_an_error_names_file_offset_member_rule_and_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError) as caught:
        judge(tmp_path, zip_of(Part("a", b"one"), Part("b", b"two", both={"crc": 1})))
    assert str(caught.value) == (
        f"{tmp_path / 'judged.zip'}: offset 36, member b: breaks rule 'crc' (the content has the "
        "declared CRC-32): 0x11ca8a66, declared 0x00000001; do not deploy this zip, build it again"
    )


def test_a_hostile_name_is_shown_escaped_and_shortened(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError) as caught:
        judge(tmp_path, zip_of(Part("\x1b[2J" + "x" * 60_000)))
    assert "\\x1b[2Jxxx" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_path_may_be_text(tmp_path: Path) -> None:
    judge(tmp_path, zip_of())
    assert read_back(str(tmp_path / "judged.zip")).members == ()


def no_file(directory: Path) -> Path:
    return directory / "missing.zip"


def a_directory(directory: Path) -> Path:
    return directory


def a_file_as_directory(directory: Path) -> Path:
    (directory / "file").touch()
    return directory / "file" / "a.zip"


def a_dangling_link(directory: Path) -> Path:
    (directory / "link.zip").symlink_to("nowhere")
    return directory / "link.zip"


def a_fifo(directory: Path) -> Path:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no FIFOs")
    os.mkfifo(directory / "fifo.zip")
    return directory / "fifo.zip"


def an_unreadable_file(directory: Path) -> Path:
    location = directory / "locked.zip"
    location.write_bytes(zip_of())
    location.chmod(0)
    if os.access(location, os.R_OK):
        pytest.skip("this user may read every file")
    return location


@pytest.mark.parametrize(
    "make",
    [no_file, a_directory, a_file_as_directory, a_dangling_link, a_fifo, an_unreadable_file],
)
def test_what_cannot_be_read_is_an_archive_error(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match="breaks rule 'file'"):
        read_back(make(tmp_path))


@pytest.mark.parametrize("name", SMALL)
def test_truncation_at_any_length_is_rejected(name: str, tmp_path: Path) -> None:
    data = SMALL_ZIPS[name]
    assert all(rejected(tmp_path, data[:size]) for size in range(len(data)))


@pytest.mark.parametrize("name", SMALL)
def test_any_single_bit_matters(name: str, tmp_path: Path) -> None:
    """Every byte is pinned by a rule, except that deflate spells some contents in several ways.

    A flip inside a deflate stream that survives has hit its padding bits, or a match that now
    copies the same bytes from elsewhere. Then no member differs in any respect.
    """
    data, free = SMALL_ZIPS[name], deflate_bytes(WELL_FORMED[name])
    answer = judge(tmp_path, data)
    for offset, mask in ((place, 1 << bit) for place in range(len(data)) for bit in range(8)):
        flipped = bytearray(data)
        flipped[offset] ^= mask
        if not rejected(tmp_path, bytes(flipped)):
            assert offset in free, (offset, mask)
            assert judge(tmp_path, bytes(flipped)) == answer


def test_the_freedom_of_deflate_is_real(tmp_path: Path) -> None:
    """The example behind the claim above: padding bits behind the last symbol say nothing."""
    raw = deflated(b"a")
    padded = raw[:-1] + bytes([raw[-1] | 0x80])
    plain, odd = zip_of(Part("a", b"a")), zip_of(Part("a", b"a", raw=padded))
    assert plain != odd
    assert judge(tmp_path, plain) == judge(tmp_path, odd)


@each_overwrites
@given(st.sampled_from(sorted(WELL_FORMED)), st.randoms(), st.integers(1, 255))
def test_any_changed_byte_matters(
    tmp_path: Path, name: str, chance: random.Random, mask: int
) -> None:
    """As above for whole bytes, and for the good zips that are too large to try every byte."""
    parts = WELL_FORMED[name]
    data = bytearray(zip_of(*parts))
    offset = chance.randrange(len(data))
    data[offset] ^= mask
    if not rejected(tmp_path, bytes(data)):
        assert offset in deflate_bytes(parts)
        assert seen(judge(tmp_path, bytes(data))) == expected(parts)


@each_overwrites
@given(st.sampled_from(sorted(WELL_FORMED)), st.randoms(), st.binary(min_size=1, max_size=40))
def test_bytes_put_in_or_taken_out_are_rejected(
    tmp_path: Path, name: str, chance: random.Random, extra: bytes
) -> None:
    data = zip_of(*WELL_FORMED[name])
    offset = chance.randrange(len(data) + 1)
    assert rejected(tmp_path, data[:offset] + extra + data[offset:])
    assert rejected(tmp_path, data[: max(0, offset - len(extra))] + data[max(1, offset) :])


@each_overwrites
@given(st.binary(max_size=300), st.sampled_from(sorted(SMALL_ZIPS)), st.randoms())
def test_garbage_is_an_archive_error(
    tmp_path: Path, garbage: bytes, name: str, chance: random.Random
) -> None:
    """Nothing but `ArchiveError` comes out, also when the end record is a plausible one."""
    assert rejected(tmp_path, garbage)
    data = bytearray(SMALL_ZIPS[name])
    for byte in garbage:
        data[chance.randrange(len(data))] = byte
    rejected(tmp_path, bytes(data))


names = st.text("ab.-\xe4\u65e5\U0001f40d", min_size=1, max_size=5).filter(
    lambda name: name not in {".", ".."}
)
parts_of_names = st.builds(
    Part,
    st.lists(names, min_size=1, max_size=3).map("/".join),
    st.binary(max_size=100),
    executable=st.booleans(),
    method=st.sampled_from([STORED, DEFLATED]),
)


@each_overwrites
@given(st.lists(parts_of_names, max_size=6))
def test_order_and_clashes_are_judged_as_the_rules_say(tmp_path: Path, parts: list[Part]) -> None:
    """The reader's linear walk agrees with the plain meaning of the two rules."""
    raw = [part.raw_name for part in parts]
    ascending = all(a < b for a, b in pairwise(raw))
    clash = any(b.startswith(a + b"/") for a in raw for b in raw)
    assert rejected(tmp_path, zip_of(*parts)) == (clash or not ascending)
    if ascending and not clash:
        assert seen(judge(tmp_path, zip_of(*parts))) == expected(tuple(parts))


SIZES = (1, 2, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 3 << 18)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("data", [bytes, noise])
@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_sizes_around_the_piece_are_read_whole(
    size: int, data: Callable[[int], bytes], method: int, tmp_path: Path
) -> None:
    parts = (Part("a", data(size), method=method),)
    assert seen(judge(tmp_path, zip_of(*parts))) == expected(parts)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wrong", [-1, 1])
def test_wrong_sizes_around_the_piece_are_rejected(size: int, wrong: int, tmp_path: Path) -> None:
    part = Part("a", bytes(size), both={"size": size + wrong})
    with pytest.raises(ArchiveError, match="breaks rule 'size'"):
        judge(tmp_path, zip_of(part))


MEGABYTE = 1 << 20


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_memory_does_not_depend_on_the_size_of_a_member(method: int, tmp_path: Path) -> None:
    parts = (Part("zeros", bytes(32 * MEGABYTE), method=method),)
    (tmp_path / "judged.zip").write_bytes(zip_of(*parts))
    assert peak_of(tmp_path / "judged.zip") < 2 * MEGABYTE


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    bomb = Part("zeros", bytes(64 * MEGABYTE), both={"size": 10})
    (tmp_path / "judged.zip").write_bytes(zip_of(bomb))
    assert peak_of(tmp_path / "judged.zip") < MEGABYTE


def peak_of(location: Path) -> int:
    """Return the most bytes that were allocated at once while the zip was judged."""
    tracemalloc.start()
    try:
        with suppress(ArchiveError):
            read_back(location)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


def test_a_long_chain_of_prefixes_is_judged_in_linear_time(tmp_path: Path) -> None:
    """Each name starts with all earlier ones: quadratic only in the bytes that are there."""
    parts = tuple(Part("a" * length, method=STORED) for length in range(1, 400))
    assert len(judge(tmp_path, zip_of(*parts)).members) == len(parts)


def test_a_file_that_shrinks_while_it_is_read_is_an_archive_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = tmp_path / "judged.zip"
    location.write_bytes(zip_of(Part("a", noise(MEGABYTE), method=STORED)))
    monkeypatch.setattr(
        "lambdaslim.strictzip._check_sequence", lambda *_: os.truncate(location, 99)
    )
    with pytest.raises(ArchiveError, match=r"breaks rule 'file'.* bytes too early"):
        read_back(location)
