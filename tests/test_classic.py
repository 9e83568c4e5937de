"""The preset `classic` keeps the files that the shell recipe keeps, on real installations."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from disk import posix_only
from lambdaslim import Pipeline, Result, Target, preset, scan
from lambdaslim.knowledge import Knowledge
from vendored import Vendor, small_tree

RECIPE = Path(__file__).with_name("classic_recipe.sh")
RASTERIO = ("rasterio[s3]",)
PANDAS = ("pandas", "pyarrow")
WEB = ("fastapi", "mangum", "sqlalchemy", "boto3")

# The differences, each of which docs/reference/presets.md explains. Scripts in bin/ begin with the
# builder's interpreter; the recipe leaves what the installer made of them.
ONLY_RECIPE = {RASTERIO: {"bin/jp.pyc"}, PANDAS: set[str](), WEB: {"bin/jp.pyc"}}


def after_the_recipe(source: Path, scratch: Path) -> set[str]:
    """Return the files that the recipe leaves of a copy."""
    shutil.copytree(source, scratch, symlinks=True)
    tag = str(sys.implementation.cache_tag)
    subprocess.run(["/bin/sh", RECIPE, scratch, tag], check=True, stdin=subprocess.DEVNULL)
    return {p.relative_to(scratch).as_posix() for p in scratch.rglob("*") if not p.is_dir()}


def classic(source: Path) -> Result:
    """Return what the preset makes of a directory."""
    # As `slim` runs it: nothing may mend the recipe.
    passes = preset("classic", Target.of())
    return Pipeline(passes, knowledge=Knowledge(), hazards=False).run(scan(source))


@posix_only
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("requirements", [RASTERIO, PANDAS, WEB], ids="+".join)
def test_the_same_files_as_the_recipe(
    vendored: Vendor, tmp_path: Path, requirements: tuple[str, ...]
) -> None:
    source = vendored(*requirements)
    recipe = after_the_recipe(source, tmp_path / "copy")
    ours = set(classic(source).after)
    assert ours - recipe == set()
    assert recipe - ours == ONLY_RECIPE[requirements]
    # Otherwise two recipes that do nothing would agree.
    assert len(recipe) < len(scan(source)) / 2


@posix_only
def test_the_recipe_on_the_small_tree(tmp_path: Path) -> None:
    source = small_tree(tmp_path / "vendored")
    _cache(
        source, ["shapes/area.py", "shapes/__init__.py", "handler.py", "shapes/keep/__init__.py"]
    )
    assert after_the_recipe(source, tmp_path / "copy") == {
        *(".lock", "bin/shapes", "handler.pyc", "shapes/__init__.pyc", "shapes/area.pyc"),
        # What is cached for others lands beside its source under the tagged name.
        *("shapes/area.cpython-36.pyc", "shapes/data/table.csv", "shapes/keep/__init__.pyc"),
    }


def _cache(directory: Path, paths: Iterable[str]) -> None:
    """Compile sources as an installer does."""
    places = [str(directory / path) for path in paths]
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode=timestamp", *places]
    subprocess.run(command, check=True)
