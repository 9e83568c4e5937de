"""What is read from ELF files: as readelf reads it, and never a crash or an endless loop."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from pathlib import Path
from shutil import which

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elves import MACH_O, PE, elf
from lambdaslim.elf import AARCH64, X86_64, MalformedElfError, VersionNeed, read

FULL = {
    "needed": ("libc.so.6", "libm.so.6"),
    "soname": "libown.so.1",
    "rpath": "$ORIGIN/../own.libs:/usr/lib",
    "runpath": "$ORIGIN",
    "versions": {"libc.so.6": ("GLIBC_2.17", "GLIBC_2.34"), "libm.so.6": ("GLIBC_2.29",)},
    "interpreter": "/lib64/ld-linux-x86-64.so.2",
}


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_everything_is_read_in_both_classes_and_byte_orders(bits: int, order: str) -> None:
    facts = read(elf(bits=bits, order=order, machine=AARCH64, **FULL))  # type: ignore[arg-type]
    assert facts is not None
    assert (facts.bits, facts.little_endian, facts.machine, facts.kind) == (
        bits,
        order == "<",
        AARCH64,
        3,
    )
    assert facts.needed == ("libc.so.6", "libm.so.6")
    assert facts.soname == "libown.so.1"
    assert facts.search == ("$ORIGIN/../own.libs", "/usr/lib", "$ORIGIN")
    assert facts.interpreter == "/lib64/ld-linux-x86-64.so.2"
    assert facts.versions == (
        VersionNeed("libc.so.6", ("GLIBC_2.17", "GLIBC_2.34")),
        VersionNeed("libm.so.6", ("GLIBC_2.29",)),
    )


def test_weak_needs_are_no_needs() -> None:
    facts = read(elf(versions={"libc.so.6": ["GLIBC_2.99"]}, weak=True))
    assert facts is not None
    assert facts.versions == (VersionNeed("libc.so.6", ()),)


@pytest.mark.parametrize("data", [b"", b"\x7fEL", b"text", MACH_O, PE, b"version https://git-lfs"])
def test_other_files_have_no_facts(data: bytes) -> None:
    assert read(data) is None


@pytest.mark.parametrize("size", range(4, 64, 7))
def test_a_truncated_header_is_malformed(size: int) -> None:
    with pytest.raises(MalformedElfError) as caught:
        read(elf()[:size])
    assert caught.value.fix


def test_names_outside_the_file_are_malformed() -> None:
    with pytest.raises(MalformedElfError, match="no segment for the address"):
        read(
            elf().replace(b"\x01\x00\x00\x00\x04\x00\x00\x00", b"\x09\x00\x00\x00\x04\x00\x00\x00")
        )


@given(st.binary(max_size=300))
def test_any_bytes_after_the_magic_are_facts_or_malformed(data: bytes) -> None:
    with suppress(MalformedElfError):
        assert read(b"\x7fELF" + data) is not None


@given(st.data())
def test_damaged_files_are_read_or_refused_and_take_no_time(data: st.DataObject) -> None:
    whole = bytearray(elf(**FULL))  # type: ignore[arg-type]
    for _ in range(data.draw(st.integers(1, 12))):
        place = data.draw(st.integers(4, len(whole) - 1))
        whole[place] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    cut = data.draw(st.integers(4, len(whole)))
    started = time.monotonic()
    with suppress(MalformedElfError):
        read(bytes(whole[:cut]))
    assert time.monotonic() - started < 2


def test_a_chain_that_claims_to_be_endless_ends() -> None:
    """Every link leads to itself as far as unsigned offsets allow, with the largest counts."""
    names = {f"lib{n}.so": [f"V{m}" for m in range(100)] for n in range(100)}
    started = time.monotonic()
    facts = read(elf(versions=names))
    assert facts is not None
    assert sum(len(need.versions) for need in facts.versions) == 4_096
    assert time.monotonic() - started < 1


@pytest.mark.skipif(which("readelf") is None, reason="no readelf to compare with")
def test_real_extension_modules_are_read_as_readelf_reads_them() -> None:
    directory = Path(sysconfig.get_path("platstdlib")) / "lib-dynload"
    modules = sorted(directory.glob("*.so"))[:20] or [Path(sys.executable).resolve()]
    for path in modules:
        shown = subprocess.check_output(["readelf", "-d", "-W", path], text=True)
        needed = [
            line.split("[")[1].rstrip("]\n") for line in shown.splitlines() if "(NEEDED)" in line
        ]
        facts = read(path.read_bytes())
        assert facts is not None
        assert list(facts.needed) == needed, path
        assert facts.machine in (X86_64, AARCH64)
