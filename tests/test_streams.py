"""What ends a deflate stream is found, whatever made the stream, and another can follow."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from functools import partial

import deflate
import pytest
import zopfli.zopfli
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdaslim import streams
from lambdaslim.streams import opened

NOISE = random.Random(3).randbytes(200_000)  # noqa: S311 - incompressible, not secret
TEXT = b"".join(b"line %d of a file\n" % number for number in range(40_000))
WORDS = b" ".join(random.Random(4).choices(TEXT.split(), k=60_000))  # noqa: S311 - not secret

Make = Callable[[bytes], bytes]


def by_zlib(level: int, strategy: int, data: bytes) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, 8, strategy)
    return stream.compress(data) + stream.flush()


def by_libdeflate(level: int, data: bytes) -> bytes:
    return bytes(deflate.deflate_compress(data, level))


def by_zopfli(data: bytes) -> bytes:
    stream: bytes = zopfli.zopfli.compress(data, numiterations=1)
    return stream[2:-4]


LIBRARIES: dict[str, Make] = {
    "libdeflate 1": partial(by_libdeflate, 1),
    "libdeflate 10": partial(by_libdeflate, 10),
    "libdeflate 12": partial(by_libdeflate, 12),
    "zlib 1": partial(by_zlib, 1, zlib.Z_DEFAULT_STRATEGY),
    "zlib 9": partial(by_zlib, 9, zlib.Z_DEFAULT_STRATEGY),
    "zlib, codes only": partial(by_zlib, 9, zlib.Z_HUFFMAN_ONLY),
}
SMALL: dict[str, Make] = {**LIBRARIES, "zopfli": by_zopfli}


def check(make: Make, data: bytes) -> None:
    """Two streams become one, wherever the bits of the first one end."""
    stream = make(data)
    found = opened(stream, data)
    assert found is not None
    assert len(found) <= len(stream) + 5
    reader = zlib.decompressobj(-zlib.MAX_WBITS)
    assert reader.decompress(found + stream) == data * 2
    assert reader.eof
    assert not reader.unused_data


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "data",
    [b"", b"a", b"\0" * 70_000, b"abc" * 9, NOISE[:500], TEXT[:5_000], WORDS[:5_000]],
    ids=["nothing", "a byte", "zeros", "repeated", "noise", "text", "words"],
)
def test_short_streams(name: str, data: bytes) -> None:
    check(SMALL[name], data)


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize(
    "data",
    [TEXT, WORDS, NOISE, WORDS + bytes(100_000), WORDS + NOISE, NOISE + WORDS, TEXT + NOISE[:70]],
    ids=["text", "words", "noise", "ends in zeros", "ends in noise", "begins so", "ends so a bit"],
)
def test_long_streams(name: str, data: bytes) -> None:
    check(LIBRARIES[name], data)


@given(
    st.sampled_from([*LIBRARIES]),
    st.lists(
        st.tuples(st.sampled_from([TEXT, WORDS, NOISE, bytes(9_000)]), st.integers(0, 3_000)),
        max_size=6,
    ),
)
@settings(max_examples=150, deadline=None)
def test_any_data(name: str, parts: list[tuple[bytes, int]]) -> None:
    data = b"".join(
        source[size : size + size // (1 + number)] for number, (source, size) in enumerate(parts)
    )
    check(LIBRARIES[name], data)


def test_the_data_may_be_a_view() -> None:
    stream = by_libdeflate(10, WORDS)
    assert opened(stream, memoryview(WORDS)) == opened(stream, WORDS)


def test_what_was_opened_can_be_followed_by_more_than_one() -> None:
    parts = [opened(by_libdeflate(10, one), one) or b"" for one in (WORDS, NOISE, TEXT)]
    whole = b"".join(parts) + by_libdeflate(10, b"end")
    assert zlib.decompress(whole, -zlib.MAX_WBITS) == WORDS + NOISE + TEXT + b"end"


@pytest.mark.parametrize(
    "data", [WORDS, NOISE, b"a", b""], ids=["words", "noise", "byte", "nothing"]
)
def test_a_stream_of_other_data_is_not_opened(data: bytes) -> None:
    stream = by_libdeflate(10, data)
    for other in (data + b"x", data[:-1] + b"\xff", b"x" * 9):
        assert opened(stream, other) is None


@pytest.mark.parametrize("size", [40, 300, 2_000, 20_000])
def test_blocks_with_fixed_codes(size: int) -> None:
    """Within one, many bits look like the beginning of another that makes the rest."""
    check(partial(by_zlib, 9, zlib.Z_FIXED), WORDS[:size])


@pytest.mark.parametrize("size", [65_535, 65_536, 2 * 65_535])
def test_blocks_of_stored_bytes(size: int) -> None:
    check(LIBRARIES["libdeflate 10"], NOISE[:size])
    check(partial(by_zlib, 0, zlib.Z_DEFAULT_STRATEGY), NOISE[:size])


@pytest.mark.parametrize("step", [streams._HEAD_SIZE, 64, 1 << 20])
def test_a_block_may_begin_at_the_border_of_two_windows(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_STEP", step)
    for size in range(20_000, 20_030):
        check(LIBRARIES["libdeflate 10"], WORDS[:size])


def test_the_proof_decides_and_not_what_a_bit_looks_like(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data can be made whose bits look like a last block that makes nothing."""
    monkeypatch.setattr(streams, "_ends", lambda _stream, _data, _bit: True)
    monkeypatch.setattr(streams, "_MOST_PROOFS", 10_000)
    for data in (WORDS[:9_000], NOISE[:300], TEXT[:3_000], b"abc" * 9):
        check(LIBRARIES["libdeflate 10"], data)


def test_data_made_to_look_like_many_ends_takes_few_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(NOISE)
    length = len(by_libdeflate(1, NOISE))
    start = by_libdeflate(1, NOISE).find(NOISE[150_000:150_020]) - 150_000
    for at in range(150_000, 195_000, 500):
        rest = length - (start + at + 1) - 4
        data[at : at + 5] = struct.pack("<BHH", 1, rest, rest ^ 0xFFFF)
    proofs = []
    proved = streams._proved

    def counted(stream: bytes, made: bytes | memoryview) -> bytes | None:
        proofs.append(stream)
        return proved(stream, made)

    monkeypatch.setattr(streams, "_proved", counted)
    stream = by_libdeflate(1, bytes(data))
    assert len([*streams._stored(stream)]) > 80
    opened(stream, bytes(data))
    assert len(proofs) <= 16


def test_a_stream_that_is_fixed_for_long_is_left_alone() -> None:
    stream = by_zlib(9, zlib.Z_FIXED, WORDS[:100_000])
    assert opened(stream, WORDS[:100_000]) is None
    assert opened(b"", b"") is None
