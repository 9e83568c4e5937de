"""Gzip files get smaller, keep their content, and are left alone where that is not certain."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdaslim import Pipeline, Result, passes
from lambdaslim.compressors import compressor
from lambdaslim.errors import UsageError
from lambdaslim.passes import RecompressGzip, recompress_gzip
from lambdaslim.passes.recompress_gzip import recompressed
from trees import Data, dist, tree_from

TEXT = " ".join(str(number * number) for number in range(9_000)).encode()
ZLIB = compressor("zlib")


def gz(
    content: bytes = TEXT, level: int = 1, *, name: str = "", mtime: int = 1_700_000_000
) -> bytes:
    file = io.BytesIO()
    with gzip.GzipFile(name, "wb", level, file, mtime) as stream:
        stream.write(content)
    return file.getvalue()


def header(flags: int, extra: bytes) -> bytes:
    """Return a gzip file with other header fields than gzip writes."""
    plain = gz()
    return plain[:3] + bytes([flags]) + plain[4:10] + extra + plain[10:]


def run(files: dict[str, Data], own: dict[str, Data] | None = None) -> Result:
    tree = tree_from(dist("pkg", files=files), own or {})
    return Pipeline((RecompressGzip(),)).run(tree)


@pytest.mark.parametrize("path", ["pkg/a.json.gz", "pkg/a.tar.gz", "pkg/a.tgz", "pkg/a.svgz"])
def test_the_content_is_the_same_and_the_header_plain(path: str) -> None:
    old = gz(name="/home/builder/a.json")
    new = run({path: old}).after[path].read()
    assert gzip.decompress(new) == TEXT
    assert len(new) < len(old)
    assert new[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def test_the_users_files_too() -> None:
    assert run({"pkg/__init__.py": ""}, {"data.gz": gz()}).saved > 0


def test_a_second_run_changes_nothing() -> None:
    once = run({"pkg/a.gz": gz()}).after
    assert Pipeline((RecompressGzip(),)).run(once).changes == ()


ALONE = {
    "other-suffix.bin": gz(),
    "best-already.gz": gz(level=9),
    "empty.gz": b"",
    "no-gzip.gz": b"text" * 100,
    "cut.gz": gz()[:-1],
    "cut-in-the-header.gz": header(8, b"a name without an end" * 3)[:40],
    "two-members.gz": gz() + gz(),
    "trailing.gz": gz() + b"\0",
    "wrong-crc.gz": gz()[:-8] + b"1234" + gz()[-4:],
    "wrong-size.gz": gz()[:-4] + b"1234",
    "extra-field-of-bgzf.gz": header(4, struct.pack("<H2sHH", 6, b"BC", 2, 0)),
    "comment.gz": header(16, b"a comment\0"),
    "reserved-flag.gz": header(32, b""),
}


@pytest.mark.parametrize("name", ALONE)
def test_a_file_is_left_alone(name: str) -> None:
    assert run({name: ALONE[name]}).changes == ()


def test_a_file_that_unfolds_to_too_much_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompress_gzip, "_LARGEST", len(TEXT) - 1)
    assert recompressed(gz(), ZLIB) is None
    monkeypatch.setattr(recompress_gzip, "_LARGEST", len(TEXT) + 1)
    assert recompressed(gz(), ZLIB) is not None


@pytest.mark.parametrize("digest", ["md5", "sha1", "sha256", "sha512"])
def test_a_file_of_which_a_digest_is_known_is_left_alone(digest: str) -> None:
    registry = f"a.gz {hashlib.new(digest, gz()).hexdigest().upper()}\n"
    result = run({"pkg/a.gz": gz(), "pkg/registry.txt": registry})
    assert result.changes == ()
    assert [(one.path, one.reason) for one in result.kept] == [
        ("pkg/a.gz", "pkg/registry.txt holds a digest of it")
    ]
    assert run({"pkg/a.gz": gz()}, {"app.py": f"KNOWN = {registry!r}"}).changes == ()
    assert run({"pkg/a.gz": gz(b"other" * 900), "pkg/registry.txt": registry}).changes


def test_what_is_too_much_to_hold_is_compressed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    held = run({"pkg/a.gz": gz()}).after
    monkeypatch.setattr(recompress_gzip, "_MOST", 0)
    again = run({"pkg/a.gz": gz()}).after
    assert again.digest() == held.digest()
    assert again["pkg/a.gz"].size == len(again["pkg/a.gz"].read())


def test_a_compressor_that_lies_changes_nothing() -> None:
    class Lying:
        name = "lying"

        def __call__(self, data: bytes) -> bytes:
            return ZLIB(data[:-1])

    assert recompressed(gz(), Lying()) is None


def test_an_unknown_compressor_is_refused() -> None:
    with pytest.raises(UsageError):
        passes.RecompressGzip("best")


@given(st.binary(max_size=400), st.integers(0, 9))
def test_any_content(content: bytes, level: int) -> None:
    new = recompressed(gz(content, level), ZLIB)
    assert new is None or zlib.decompress(new, 31) == content


@given(st.binary(max_size=60), st.integers(0, 40))
def test_damage_is_no_error(damage: bytes, place: int) -> None:
    whole = bytearray(gz(TEXT[:300]))
    whole[place : place + len(damage)] = damage
    new = recompressed(bytes(whole), ZLIB)
    assert new is None or gzip.decompress(new) == gzip.decompress(bytes(whole))
