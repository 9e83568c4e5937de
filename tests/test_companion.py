"""The sources companion: what is in it, which package it belongs to, and when it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from disk import leftovers, populate
from lambdaslim import (
    Companion,
    Entry,
    RefusedError,
    Replace,
    SlimError,
    Tree,
    passes,
    scan,
    slim,
)
from lambdaslim import limits as lambda_limits
from lambdaslim.archive import write_zip
from lambdaslim.errors import CompanionError, OutputError, ScanError
from lambdaslim.scanner import scan_zip
from trees import PYTHON

FILES = {
    "app.py": "def handler(event, context):\n    return event\n",
    "pkg/__init__.py": "",
    "pkg/a.py": "x = 1\n" * 50,
    "pkg/data.txt": "text\n",
    "pkg/my-template/b.py": "y = 1\n",
}
REMOVED = ["app.py", "pkg/__init__.py", "pkg/a.py"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return populate(tmp_path / "vendored", FILES)


def packed(source: Path, **options: Any) -> Companion:  # noqa: ANN401 - options of slim
    place = source.parent / "out.src.zip"
    slim(source, source.parent / "out.zip", sources=place, **options)
    return Companion.read(place)


def test_it_holds_what_bytecode_replaced(source: Path) -> None:
    companion = packed(source)
    assert list(companion.sources) == REMOVED
    for path, entry in companion.sources.items():
        assert entry.read() == (source / path).read_bytes()


def test_it_knows_the_sources_that_the_package_holds(source: Path) -> None:
    assert packed(source).kept == {"pkg/my-template/b.py"}


def test_it_says_which_package_it_belongs_to(source: Path) -> None:
    place = source.parent / "out.src.zip"
    slimmed = slim(source, source.parent / "out.zip", sources=place, root="/opt/python/")
    companion = Companion.read(place)
    package = slimmed.package
    assert companion.content_digest == package.content_digest == slimmed.result.after.digest()
    assert companion.sha256 == package.sha256
    assert (companion.runtime, companion.root) == (slimmed.target.runtime.name, "/opt/python")
    for digest in (package.content_digest, package.sha256, package.code_sha256):
        assert digest is not None
        companion.demand(digest)


@pytest.mark.parametrize("digest", ["", "0" * 64, "nonsense", "é"])
def test_another_package_is_refused(source: Path, digest: str) -> None:
    with pytest.raises(CompanionError, match="digest of "):
        packed(source).demand(digest)


def test_a_directory_has_a_companion_too(source: Path) -> None:
    place = source.parent / "out.src.zip"
    slimmed = slim(source, source.parent / "out", sources=place)
    companion = Companion.read(place)
    assert (companion.sha256, list(companion.sources)) == (None, REMOVED)
    companion.demand(scan(source.parent / "out").digest())
    with pytest.raises(CompanionError):
        companion.demand("0" * 64)
    assert slimmed.package.path == source.parent / "out"


def test_a_package_slimmed_in_place_has_one(source: Path) -> None:
    place = source.parent / "out.src.zip"
    slim(source, in_place=True, sources=place)
    assert not (source / "app.py").exists()
    assert Companion.read(place).sources["app.py"].read() == FILES["app.py"].encode()


def test_a_package_with_its_sources_has_an_empty_one(source: Path) -> None:
    companion = packed(source, bytecode="cached")
    assert dict(companion.sources) == {}
    assert companion.kept == {*REMOVED, "pkg/my-template/b.py"}


def test_it_is_deterministic(source: Path) -> None:
    packed(source)
    first = (source.parent / "out.src.zip").read_bytes()
    (source / "app.py").touch()
    packed(source)
    assert (source.parent / "out.src.zip").read_bytes() == first


def test_what_a_pass_before_made_of_a_source_is_in_it(source: Path) -> None:
    """The bytecode was made from that, and not from what was vendored."""

    class Shorten:
        name = "shorten"

        def edits(self, tree: Tree, context: object) -> Any:  # noqa: ANN401, ARG002 - a pass
            short = Entry.of("pkg/a.py", "x = 1\n")
            yield Replace("pkg/a.py", short, "shorter")

    steps = (Shorten(), passes.PromoteBytecode(PYTHON, root="/opt"))
    companion = packed(source, passes=steps)
    assert companion.sources["pkg/a.py"].read() == b"x = 1\n"
    assert companion.root == "/opt"


def test_a_dry_run_writes_none(source: Path) -> None:
    slim(source, source.parent / "out.zip", sources=source.parent / "s.zip", dry_run=True)
    assert leftovers(source.parent) == []
    assert sorted(p.name for p in source.parent.iterdir()) == ["vendored"]


def test_a_refused_package_has_none(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_limits, "UNZIPPED", 10)
    with pytest.raises(RefusedError):
        slim(source, source.parent / "out.zip", sources=source.parent / "s.zip")
    assert sorted(p.name for p in source.parent.iterdir()) == ["vendored"]


def test_without_its_companion_no_package_is_written(source: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        slim(source, source.parent / "out.zip", sources=source.parent / "missing" / "s.zip")
    assert sorted(p.name for p in source.parent.iterdir()) == ["vendored"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s.tar", "does not end in .zip"),
        ("", "does not end in .zip"),
        ("out.zip", "is the package itself"),
        ("vendored/s.zip", "is inside the source"),
    ],
)
def test_a_place_that_cannot_be_is_refused(source: Path, name: str, message: str) -> None:
    place = source.parent / name if name else ""
    with pytest.raises(OutputError, match=message):
        slim(source, source.parent / "out.zip", sources=place)
    assert sorted(p.name for p in source.parent.iterdir()) == ["vendored"]


def test_a_place_inside_the_output_is_refused(source: Path) -> None:
    with pytest.raises(OutputError, match="is inside"):
        slim(source, source.parent / "out", sources=source.parent / "out" / "s.zip")
    assert not (source.parent / "out").exists()


def test_another_zip_is_no_companion(source: Path) -> None:
    slim(source, source.parent / "out.zip")
    with pytest.raises(CompanionError, match="is no sources companion"):
        Companion.read(source.parent / "out.zip")


def test_no_zip_is_no_companion(source: Path) -> None:
    with pytest.raises(ScanError):
        Companion.read(source / "app.py")
    with pytest.raises(CompanionError, match="is no file"):
        Companion.read(source / "missing.zip")


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"format": "another"},
        {"kept": None},
        {"kept": 5},
        {"root": None},
        {"sha256": 5},
        {"sha256": "no digest"},
        {"content_digest": None},
    ],
    ids=str,
)
def test_a_manifest_that_does_not_fit_is_refused(source: Path, change: dict[str, object]) -> None:
    packed(source)
    tree = scan_zip(source.parent / "out.src.zip")
    manifest = json.loads(tree["companion.json"].read()) | change
    others = [entry for path, entry in tree.items() if path != "companion.json"]
    broken = Tree([*others, Entry.of("companion.json", json.dumps(manifest))])
    write_zip(broken, source.parent / "broken.zip")
    with pytest.raises(CompanionError, match="is no sources companion of version 1"):
        Companion.read(source.parent / "broken.zip")


@pytest.mark.parametrize(
    "options",
    [{"bytecode": "cached"}, {"optimize": 1}, {"root": "/opt"}, {"require_bytecode": True}],
    ids=str,
)
def test_options_of_presets_do_not_go_with_own_passes(
    source: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(SlimError, match="is for presets and not for your own passes"):
        slim(source, source.parent / "out.zip", passes=(passes.StripTests(),), **options)
