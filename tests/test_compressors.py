from __future__ import annotations

import random
import struct
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdaslim import compressors
from lambdaslim.compressors import compressor, pieces
from lambdaslim.errors import UsageError

FAMILIES = ("zlib", "zlib:0", "zlib:1", "libdeflate", "libdeflate:1", "max", "ultra")
NOISE = random.Random(7).randbytes(3_000)  # noqa: S311 - incompressible, not secret
PIECE, WHOLE = 2 << 20, 8 << 20
TEXT = b"".join(b"line %d of a file\n" % number for number in range(2_000))


def inflated(stream: bytes) -> bytes:
    reader = zlib.decompressobj(-zlib.MAX_WBITS)
    data = reader.decompress(stream)
    assert reader.eof
    assert not reader.unused_data
    return data


@pytest.mark.parametrize("spec", FAMILIES)
@pytest.mark.parametrize("data", [b"", b"a", TEXT, NOISE, TEXT + NOISE])
def test_every_compressor_makes_raw_deflate_streams(spec: str, data: bytes) -> None:
    stream = compressor(spec)(data)
    assert type(stream) is bytes
    assert inflated(stream) == data


@given(st.sampled_from(("zlib", "libdeflate:3", "max", "ultra")), st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_come_back(spec: str, data: bytes) -> None:
    assert inflated(compressor(spec)(data)) == data


@pytest.mark.parametrize("spec", FAMILIES)
def test_threads_do_not_disturb_each_other(spec: str) -> None:
    compress = compressor(spec)
    pieces = [TEXT[start : start + 5_000] + NOISE[:start] for start in range(0, 12_000, 1_000)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(compress, pieces)) == [compress(piece) for piece in pieces]


def test_names_tell_library_version_and_level() -> None:
    version = zlib.ZLIB_RUNTIME_VERSION
    assert compressor().name == f"zlib {version} level 9 (ELF 8) in 2 MiB pieces, blocks by zeros"
    assert compressor("zlib:9").name == f"zlib {version} level 9 in 2 MiB pieces, blocks by zeros"
    names = [compressor(spec).name for spec in FAMILIES]
    assert len({*names}) == len(FAMILIES)
    assert compressor("max").name.endswith(" level 12 in 8 MiB pieces")


@pytest.mark.parametrize(
    ("spec", "same"),
    [("libdeflate", "libdeflate:10"), ("max", "libdeflate:12")],
)
def test_short_names_stand_for_levels(spec: str, same: str) -> None:
    assert compressor(spec).name == compressor(same).name
    assert compressor(spec)(TEXT) == compressor(same)(TEXT)


@pytest.mark.parametrize(
    ("data", "same"),
    [(TEXT, "zlib:9"), (b"\x7fELF" + TEXT, "zlib:8"), (TEXT + b"\x7fELF", "zlib:9")],
)
def test_zlib_takes_level_8_for_native_code_alone(data: bytes, same: str) -> None:
    # So that the levels differ at all: repetitions that level 8 gives up looking for.
    data += b"".join(TEXT[start : start + 300] for start in range(0, 30_000, 7))
    assert compressor("zlib:8")(data) != compressor("zlib:9")(data)
    assert compressor("zlib")(data) == compressor(same)(data)


@pytest.mark.parametrize("more", [-1, 0, 1, 70_000])
@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize(
    ("spec", "piece"),
    [
        ("zlib", PIECE),
        ("zlib:0", PIECE),
        ("zlib:1", PIECE),
        # Libraries that make whole streams only are given larger pieces.
        ("libdeflate:1", WHOLE),
        ("libdeflate:6", WHOLE),
    ],
)
def test_large_data_is_compressed_in_pieces(spec: str, piece: int, count: int, more: int) -> None:
    compress = compressor(spec)
    size = max(count * piece + more, 0)
    data = (TEXT * (size // len(TEXT) + 1))[:size]
    found = pieces(data, compress)
    assert b"".join(one.data for one in found) == data
    assert [one.last for one in found] == [False] * (max(-(-size // piece), 1) - 1) + [True]
    # In whatever order they are made.
    backwards = [one.make() for one in reversed(found)][::-1]
    assert compress(data) == b"".join(backwards)
    assert inflated(compress(data)) == data


def test_a_piece_refers_to_the_one_before_it() -> None:
    noise = random.Random(8).randbytes(30_000)  # noqa: S311 - incompressible, not secret
    data = bytes(PIECE - len(noise)) + noise + noise
    first, second = (one.make() for one in pieces(data, compressor("zlib:6")))
    assert len(first) > len(noise)
    assert len(second) < len(noise) / 50


def test_zopflis_pieces_join_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # It would take a minute for pieces of the true size.
    monkeypatch.setattr(compressors, "_LARGE_PIECE", 5_000)
    data = TEXT[:12_000] + NOISE
    assert len(pieces(data, compressor("ultra"))) == 3
    assert inflated(compressor("ultra")(data)) == data


def test_a_piece_whose_end_is_not_found_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressors, "_LARGE_PIECE", 30_000)
    monkeypatch.setattr(compressors, "opened", lambda _stream, _data: None)
    made = compressor("libdeflate")(TEXT)
    assert len(pieces(TEXT, compressor("libdeflate"))) == 2
    assert made[5:30_005] == TEXT[:30_000]
    assert inflated(made) == TEXT


@pytest.mark.parametrize("level", [0, 1])
def test_level_0_has_no_codes_that_could_suit(level: int) -> None:
    data = bytes(9_000) + NOISE * 3
    plain = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    same = compressor(f"zlib:{level}")(data) == plain.compress(data) + plain.flush()
    assert same == (level == 0)
    assert ("blocks" in compressor(f"zlib:{level}").name) == (level > 0)


def test_zlib_begins_a_block_where_the_kind_of_data_changes() -> None:
    kinds = (TEXT[:40_000], struct.pack("<10000I", *range(0, 70_000, 7)))
    data = b"".join(kinds * 3)
    apart = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    together = len(apart.compress(data)) + len(apart.flush())
    assert len(compressor("zlib:6")(data)) < 0.97 * together


def test_more_effort_gives_fewer_bytes() -> None:
    sizes = [len(compressor(spec)(TEXT)) for spec in ("zlib:0", "zlib:1", "zlib", "libdeflate")]
    assert sizes == sorted(sizes, reverse=True)


WRONG = "gzip zlib: zlib:10 zlib:-1 zlib:+1 zlib:1_0 libdeflate:0 libdeflate:13 max:9 ultra:5"


@pytest.mark.parametrize("spec", ["", "zlib: 1", "ZLIB", "zopfli", *WRONG.split()])
def test_another_text_is_refused(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        compressor(spec)
    assert caught.value.where == (spec or "''")
    assert "zlib" in caught.value.fix


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="is no compression"):
        compressor(9)  # type: ignore[arg-type]  # as a caller without a type checker may


@pytest.mark.parametrize(
    ("spec", "module"), [("libdeflate", "deflate"), ("max", "deflate"), ("ultra", "zopfli")]
)
def test_without_the_extra_the_error_says_how_to_get_it(
    spec: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as caught:
        compressor(spec)
    assert f"package {module}" in caught.value.what
    assert "pip install 'lambdaslim[max]'" in caught.value.fix


@pytest.mark.parametrize("spec", ["zlib", "libdeflate", "ultra"])
def test_other_threads_run_meanwhile(spec: str) -> None:
    data = (TEXT + NOISE) * (2 if spec == "ultra" else 80)
    worker = threading.Thread(target=compressor(spec), args=(data,))
    naps = 0
    worker.start()
    while worker.is_alive():
        time.sleep(0.001)  # wakes up only when the worker has let go of the GIL
        naps += 1
    assert naps > 5


def test_the_default_is_zlib() -> None:
    assert compressors.DEFAULT == "zlib"
    assert compressors.DEFAULT in compressors.SPECS
