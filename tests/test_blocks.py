"""Blocks begin where the share of zeros changes, and nowhere else."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdaslim.blocks import cuts

UNIT = 4096


def mixed(units: int, zeros: float, seed: int = 1) -> bytes:
    """Return bytes of which such a share is zero, at random places."""
    noise = random.Random(seed)  # noqa: S311 - not secret
    return bytes(
        0 if noise.random() < zeros else noise.randrange(1, 256) for _ in range(units * UNIT)
    )


@pytest.mark.parametrize("zeros", [0.0, 0.02, 0.3, 0.9, 1.0])
def test_data_of_one_kind_is_not_cut(zeros: float) -> None:
    assert not list(cuts(mixed(20, zeros), 0, 20 * UNIT))


def test_data_is_cut_where_its_kind_changes() -> None:
    data = mixed(3, 0.1) + mixed(5, 0.6) + mixed(2, 0.1)
    assert list(cuts(data, 0, len(data))) == [3 * UNIT, 8 * UNIT]


def test_a_small_difference_tells_after_many_bytes_only() -> None:
    # What it takes to tell zeros from others, not how different their shares are, decides.
    assert not list(cuts(mixed(1, 0.20) + mixed(1, 0.24), 0, 2 * UNIT))
    assert list(cuts(mixed(1, 0.20) + mixed(1, 0.60), 0, 2 * UNIT)) == [UNIT]


def test_only_the_part_asked_for_is_looked_at() -> None:
    data = mixed(2, 0.1) + mixed(4, 0.6) + mixed(2, 0.1)
    assert list(cuts(data, 2 * UNIT, 6 * UNIT)) == []
    assert list(cuts(data, UNIT, 3 * UNIT)) == [2 * UNIT]


def bits(some: int) -> float:
    return -some * math.log2(some / UNIT) - (UNIT - some) * math.log2(1 - some / UNIT)


def test_telling_zeros_from_others_must_save_300_bits() -> None:
    first = 1_000
    unit = bytes(first) + b"x" * (UNIT - first)
    for zeros in range(first, 2_000):
        both = 2 * bits((first + zeros) // 2) if (first + zeros) % 2 == 0 else None
        if both is None:
            continue
        saved = both - bits(first) - bits(zeros)
        data = unit + bytes(zeros) + b"x" * (UNIT - zeros)
        assert list(cuts(data, 0, len(data))) == ([UNIT] if saved > 300 else [])


@given(st.binary(max_size=50), st.integers(0, 60), st.integers(0, 60))
def test_cuts_lie_within(data: bytes, start: int, size: int) -> None:
    data *= 700
    start, end = min(start * 500, len(data)), min((start + size) * 500, len(data))
    found = list(cuts(data, start, end))
    assert found == sorted({*found})
    assert all(start < at < end for at in found)
