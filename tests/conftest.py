"""Fixtures that several test files share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambdaslim.staging import remove_tree
from vendored import Vendor, small_tree


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the command that tests run away from the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMBDASLIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def vendored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    """Return a function from requirements to a directory with them installed, to be read only.

    Each set is installed once per interpreter into LAMBDASLIM_TEST_CACHE, or else into pytest's
    cache, and found there by later runs: `vendored("rasterio[s3]", python=...)`. These tests need
    the mark `network`.
    """
    if place := os.environ.get("LAMBDASLIM_TEST_CACHE"):
        return Vendor(Path(place).absolute())
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    made = tmp_path_factory.mktemp("vendored") if cache is None else cache.mkdir("vendored")
    return Vendor(made)


@pytest.fixture
def deep_path(tmp_path: Path) -> Iterator[Path]:
    """Return a directory for trees so deep that pytest itself could not remove them."""
    yield tmp_path
    for child in tmp_path.iterdir():
        if child.is_dir():
            remove_tree(child)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a small vendored-like directory of the test's own."""
    return small_tree(tmp_path / "vendored")
