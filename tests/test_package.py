"""The one call: what it refuses, what it returns then, and that it writes nothing.

"Row N" is the row of the catalogue of cases that a test covers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from disk import Snapshot, below, leftovers, populate, posix_only
from lambdaslim import (
    Context,
    Entry,
    RefusedError,
    Replace,
    SlimError,
    Slimmed,
    Tree,
    limits,
    passes,
    scan,
    slim,
)
from lambdaslim.errors import (
    ChangedError,
    OutputError,
    OverlayError,
    PatternError,
    ScanError,
    TargetError,
    UsageError,
)
from lambdaslim.findings import Finding
from lambdaslim.limits import UNZIPPED
from lambdaslim.package import load, zipped_before
from lambdaslim.strictzip import read_back
from lambdaslim.tree import Decision

OLD = b"the old output"
FILES = {
    "app.py": "import pkg\n",
    "pkg/__init__.py": "x = 1\n" * 50,
    "pkg/notes.txt": "notes\n" * 50,
    "pkg/tests/test_x.py": "import pkg\n",
    "pkg-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n\nA README.\n",
    "pkg-1.0.dist-info/RECORD": "pkg/__init__.py,,\npkg/notes.txt,,\npkg/tests/test_x.py,,\n"
    "pkg-1.0.dist-info/METADATA,,\npkg-1.0.dist-info/RECORD,,\n",
}
NO_TEXT = (passes.Exclude(["*.txt"]),)


class Unread:
    """Content that claims a size that it need not have: limits are compared before reading."""

    def read(self) -> bytes:
        return b""


@dataclass(frozen=True)
class Inflate:
    """Make one file weigh what Lambda does not take."""

    name: ClassVar[str] = "inflate"
    size: int = UNZIPPED

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        assert "app.py" in tree
        assert context.distributions is not None
        heavy = Entry("app.py", self.size, executable=False, content=Unread())
        yield Replace("app.py", heavy, "for a test")


@dataclass(frozen=True)
class Warn:
    """Find something that matters only to the strict."""

    name: ClassVar[str] = "warn"

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        assert tree
        assert context.distributions is not None
        yield Finding("pattern-unused", "a warning")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return populate(tmp_path / "source", FILES)


def refused(
    kind: type[SlimError], action: Callable[[], object], before: Snapshot, top: Path
) -> str:
    """Return the message of an error of `kind` after which everything is as it was."""
    with pytest.raises(kind) as caught:
        action()
    assert below(top) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Arguments


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (UsageError, {"keep": "*.so"}),
        (UsageError, {"drop": "*.so"}),
        (UsageError, {"skip": "strip-tests"}),
        (UsageError, {"layers": "layer.zip"}),
        (UsageError, {"skip": ["strip-test"]}),
        (UsageError, {"preset": "sfae"}),
        (UsageError, {"upload": "pigeon"}),
        (SlimError, {"symlinks": "sometimes"}),
        (TargetError, {"runtime": "python2.7"}),
        (TargetError, {"runtime": "nodejs20.x"}),
        (TargetError, {"runtime": "python3.99"}),
        (TargetError, {"runtime": "../python3.13"}),
        (TargetError, {"architecture": "riscv"}),
        (TargetError, {"interpreter": "/nowhere/python"}),
        (PatternError, {"keep": ["[z-a]"]}),
        (PatternError, {"drop": ["[z-a]"]}),
        (PatternError, {"drop": [""]}),
        (ScanError, {"layers": ["/nowhere/layer.zip"]}),
    ],
)
@pytest.mark.parametrize("output", ["out.zip", "out", None])
def test_a_wrong_argument_is_named_and_nothing_is_written(
    source: Path, kind: type[SlimError], options: dict[str, Any], output: str | None
) -> None:
    place = None if output is None else source.parent / output
    before = below(source.parent)
    message = refused(
        kind, lambda: slim(source, place, in_place=place is None, **options), before, source.parent
    )
    (value,) = options.values()
    assert (value if isinstance(value, str) else value[0]) in message or next(
        iter(options)
    ) in message


def test_an_unknown_name_is_answered_with_those_that_exist(source: Path) -> None:
    for options in ({"preset": "x"}, {"skip": ["x"]}, {"runtime": "x"}, {"architecture": "x"}):
        with pytest.raises(SlimError) as caught:
            slim(source, source.parent / "o.zip", **options)
        known = {"preset": "classic", "skip": "strip-tests", "runtime": "python3.13"}
        assert known.get(next(iter(options)), "arm64") in caught.value.fix


@pytest.mark.parametrize("count", [0, 2])
def test_in_place_needs_exactly_one_source(source: Path, count: int) -> None:
    before = below(source.parent)
    refused(UsageError, lambda: slim([source] * count, in_place=True), before, source.parent)


def test_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanError):
        slim([], tmp_path / "out.zip")


@pytest.mark.parametrize("output", ["out.zip", "out"])
@pytest.mark.parametrize("name", ["missing", "source/app.py", "empty"])
def test_a_source_that_is_no_directory_of_files_is_refused(
    source: Path, name: str, output: str
) -> None:
    top = source.parent
    (top / "empty").mkdir()
    before = below(top)
    assert name in refused(ScanError, lambda: slim(top / name, top / output), before, top)


def test_a_missing_source_in_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanError):
        slim(tmp_path / "missing", in_place=True)
    assert not any(tmp_path.iterdir())


def test_sources_that_clash_are_refused_with_both_names(source: Path, tmp_path: Path) -> None:
    """Row 69."""
    other = populate(tmp_path / "other", {"app.py": "another\n"})
    before = below(tmp_path)
    with pytest.raises(OverlayError) as caught:
        slim([source, other], tmp_path / "out.zip")
    assert below(tmp_path) == before
    message = str(caught.value)
    assert str(source / "app.py") in message
    assert str(other / "app.py") in message


# Where the output may be


@pytest.mark.parametrize(
    "output",
    ["source/out.zip", "source/out", "source/pkg/new/out.zip", "source", "source/../source"],
)
def test_an_output_inside_the_source_is_refused(source: Path, output: str) -> None:
    """Row 28."""
    top = source.parent
    before = below(top)
    message = refused(OutputError, lambda: slim(source, top / output), before, top)
    assert "inside the source" in message


def test_an_output_that_holds_the_source_is_refused(source: Path) -> None:
    """Row 28."""
    before = below(source.parent)
    message = refused(OutputError, lambda: slim(source, source.parent), before, source.parent)
    assert "holds" in message


def test_an_output_inside_any_of_the_sources_is_refused(source: Path, tmp_path: Path) -> None:
    """Row 28."""
    other = populate(tmp_path / "other", {"b.py": ""})
    before = below(tmp_path)
    for output in (source / "o.zip", other / "o.zip"):
        with pytest.raises(OutputError):
            slim([source, other], output)
    assert below(tmp_path) == before


def test_a_neighbour_whose_name_starts_like_the_source_is_fine(source: Path) -> None:
    """Row 28."""
    assert slim(source, source.with_name("source.zip"), passes=NO_TEXT).package.files == 5
    assert slim(source, source.with_name("source-slim"), passes=NO_TEXT).package.files == 5


@posix_only
def test_an_output_inside_the_source_through_a_link_is_refused(
    source: Path, tmp_path: Path
) -> None:
    """Row 28: whichever of the two is the link."""
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "out.zip").symlink_to(source / "out.zip")
    before = below(tmp_path)
    for given, output in (
        (source, tmp_path / "link/out.zip"),
        (tmp_path / "link", source / "out.zip"),
        (source, tmp_path / "out.zip"),
    ):
        with pytest.raises(OutputError):
            slim(given, output)
    assert below(tmp_path) == before


@posix_only
def test_a_link_inside_the_source_that_leads_out_is_no_output(source: Path, tmp_path: Path) -> None:
    """Row 28: to replace the link is to change the source."""
    populate(tmp_path, {"elsewhere.zip": OLD})
    (source / "out.zip").symlink_to(tmp_path / "elsewhere.zip")
    before = below(tmp_path)
    with pytest.raises(OutputError):
        slim(source, source / "out.zip", symlinks="follow", passes=NO_TEXT)
    assert below(tmp_path) == before


def test_a_directory_in_use_is_refused(source: Path, tmp_path: Path) -> None:
    populate(tmp_path / "out", {"mine.txt": OLD})
    before = below(tmp_path)
    refused(OutputError, lambda: slim(source, tmp_path / "out", passes=NO_TEXT), before, tmp_path)


# What it writes


def test_a_name_that_ends_in_zip_is_a_zip_and_any_other_a_directory(source: Path) -> None:
    packed = slim(source, source.parent / "out.zip", passes=NO_TEXT)
    unpacked = slim(source, source.parent / "out", passes=NO_TEXT)
    assert read_back(source.parent / "out.zip").content_digest == packed.package.content_digest
    assert scan(source.parent / "out").digest() == unpacked.package.content_digest
    assert packed.package.content_digest == unpacked.package.content_digest
    assert packed.result.changes == unpacked.result.changes


def test_several_sources_are_overlaid(source: Path, tmp_path: Path) -> None:
    other = populate(tmp_path / "other", {"b.py": "b = 1\n"})
    slimmed = slim([source, str(other)], tmp_path / "out.zip", passes=NO_TEXT)
    assert {"app.py", "b.py"} <= set(slimmed.result.after)


def test_drop_comes_first_and_keep_rules_over_everything(source: Path) -> None:
    drop, keep = ["*.txt", "/pkg/tests/"], ["notes.txt"]
    slimmed = slim(source, source.parent / "o.zip", passes=NO_TEXT, drop=drop, keep=keep)
    assert "pkg/notes.txt" in slimmed.result.after
    assert "pkg/tests/test_x.py" not in slimmed.result.after
    assert [kept.path for kept in slimmed.result.kept] == ["pkg/notes.txt"] * 2


def test_a_pass_that_is_skipped_does_nothing(source: Path) -> None:
    given = (passes.StripTests(), passes.StripMetadata())
    everything = slim(source, source.parent / "o.zip", passes=given)
    skipped = slim(source, source.parent / "o.zip", passes=given, skip=["strip-tests"])
    assert "pkg/tests/test_x.py" not in everything.result.after
    assert "pkg/tests/test_x.py" in skipped.result.after
    assert {change.pass_name for change in skipped.result.changes} == {"strip-metadata"}


def test_patterns_that_match_nothing_are_findings(source: Path) -> None:
    slimmed = slim(source, source.parent / "o.zip", passes=(), drop=["*.x"], keep=["*.y"])
    assert [f.code for f in slimmed.findings] == ["pattern-unused"] * 2


@pytest.mark.parametrize("output", ["out.zip", "out", None])
def test_a_dry_run_writes_nothing_and_plans_what_a_run_does(
    source: Path, output: str | None
) -> None:
    place = None if output is None else source.parent / output
    before = below(source.parent)
    planned = slim(source, place, in_place=place is None, passes=NO_TEXT, dry_run=True)
    assert below(source.parent) == before
    assert planned.package.path is None
    done = slim(source, place, in_place=place is None, passes=NO_TEXT)
    assert planned.result.changes == done.result.changes
    assert planned.package.content_digest == done.package.content_digest
    if output == "out.zip":
        assert planned.package.sha256 == done.package.sha256


def test_what_small_would_save_is_offered_per_pass(source: Path, tmp_path: Path) -> None:
    (source / "pkg" / "__init__.py").write_text('def f():\n    """Say what it does."""\n')
    plan = slim(source, tmp_path / "a.zip", dry_run=True, offer=True)
    saved = {one.pass_name: one.saved for one in plan.offers}
    own = {change.pass_name for change in plan.result.changes}
    assert not own & set(saved)
    assert saved["strip-docstrings"] == len('    """Say what it does."""')
    assert [one.pass_name for one in plan.offers if one.estimated] == ["strip-docstrings"]
    assert not slim(source, tmp_path / "a.zip", dry_run=True).offers
    assert not slim(source, tmp_path / "a.zip", preset="small", dry_run=True, offer=True).offers


def test_the_zip_before_is_what_writing_the_source_would_have_made(source: Path) -> None:
    slimmed = slim(source, source.parent / "out.zip", passes=NO_TEXT)
    whole = slim(source, source.parent / "whole.zip", passes=())
    assert zipped_before(slimmed.result, slimmed.package) == whole.package.zipped


def test_progress_is_told_in_lines(source: Path) -> None:
    told: list[str] = []
    slim(source, source.parent / "out.zip", passes=NO_TEXT, progress=told.append)
    assert [line.split()[0] for line in told] == ["slimming", "writing"]


# Limits


def too_large(source: Path, output: Path | None, *, dry_run: bool = False) -> Slimmed:
    return slim(source, output, in_place=output is None, passes=(Inflate(),), dry_run=dry_run)


@pytest.mark.parametrize("output", ["out.zip", "out", None])
def test_over_a_limit_nothing_is_written_and_the_outcome_is_told(
    source: Path, output: str | None
) -> None:
    """Row 72."""
    place = None if output is None else source.parent / output
    before = below(source.parent)
    with pytest.raises(RefusedError) as caught:
        too_large(source, place)
    assert below(source.parent) == before
    assert caught.value.where == "limit-unzipped"
    assert [finding.code for finding in caught.value.findings] == ["limit-unzipped"]
    assert caught.value.slimmed.result.before["app.py"].size == len(FILES["app.py"])
    assert caught.value.slimmed.package.unzipped > UNZIPPED
    assert caught.value.slimmed.headroom.unzipped < 0


def test_over_a_limit_the_old_output_survives(source: Path) -> None:
    """Row 34."""
    output = populate(source.parent, {"out.zip": OLD}) / "out.zip"
    with pytest.raises(RefusedError):
        too_large(source, output)
    assert output.read_bytes() == OLD
    assert not leftovers(source.parent)


def test_over_a_limit_a_dry_run_says_so_too(source: Path) -> None:
    with pytest.raises(RefusedError):
        too_large(source, source.parent / "out.zip", dry_run=True)


def test_layers_count(source: Path) -> None:
    """Row 72."""
    layer = populate(source.parent / "layer", {"python/a.py": "a" * 1000})
    slim(layer, source.parent / "layer.zip", passes=())
    slimmed = slim(
        source, source.parent / "o.zip", passes=(), layers=[layer, source.parent / "layer.zip"]
    )
    assert slimmed.headroom.unzipped == UNZIPPED - slimmed.package.unzipped - 2000
    with pytest.raises(RefusedError, match="limit-layer-count"):
        slim(source, source.parent / "o.zip", passes=(), layers=[layer] * 6)


def test_a_package_over_a_limit_is_written_on_request(source: Path) -> None:
    layer = populate(source.parent / "layer", {"a.py": ""})
    output = source.parent / "out.zip"
    slimmed = slim(
        source, output, in_place=output is None, passes=(), layers=[layer] * 6, allow_oversize=True
    )
    assert [finding.code for finding in slimmed.findings] == ["limit-layer-count"]
    assert read_back(output).content_digest == slimmed.package.content_digest


def test_oversize_allows_no_other_error(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Finding("name-too-long", "too long", "app.py")
    monkeypatch.setattr(limits, "check", lambda *_, **__: (finding,))
    with pytest.raises(RefusedError, match="name-too-long"):
        slim(source, source.parent / "out.zip", passes=(), allow_oversize=True)


def test_a_warning_refuses_only_the_strict(source: Path) -> None:
    output = source.parent / "out.zip"
    before = below(source.parent)
    with pytest.raises(RefusedError, match="pattern-unused: a warning"):
        slim(source, output, in_place=output is None, passes=(Warn(),), strict=True)
    assert below(source.parent) == before
    assert slim(source, output, in_place=output is None, passes=(Warn(),)).package.path == output


def test_information_refuses_nobody(source: Path) -> None:
    assert slim(source, source.parent / "out.zip", passes=NO_TEXT, strict=True).package.files == 5


def test_a_strict_run_may_still_be_oversize(source: Path) -> None:
    layer = populate(source.parent / "layer", {"a.py": ""})
    options: dict[str, Any] = {"layers": [layer] * 6, "strict": True, "allow_oversize": True}
    assert slim(source, source.parent / "out.zip", passes=(), **options).package.files == 6


def test_everything_removed_is_refused(source: Path) -> None:
    """Row 38."""
    before = below(source.parent)
    for output in (source.parent / "out.zip", source.parent / "out", None):
        with pytest.raises(OutputError, match="no file is left"):
            slim(source, output, in_place=output is None, passes=(), drop=["*"])
    assert below(source.parent) == before


def test_a_source_that_changes_on_the_way_is_refused(source: Path) -> None:
    """Row 24."""
    output = populate(source.parent, {"out.zip": OLD}) / "out.zip"

    def meddle(line: str) -> None:
        if line.startswith("writing"):
            (source / "app.py").write_text("changed\n" * 9)

    with pytest.raises(ChangedError) as caught:
        slim(source, output, in_place=output is None, passes=NO_TEXT, progress=meddle)
    assert caught.value.where == str(source / "app.py")
    assert output.read_bytes() == OLD
    assert not leftovers(source.parent)


@posix_only
def test_a_symlink_that_is_refused_changes_nothing(source: Path, tmp_path: Path) -> None:
    """Row 1."""
    (source / "link").symlink_to(os.devnull)
    before = below(tmp_path)
    for output in (tmp_path / "out.zip", tmp_path / "out", None):
        with pytest.raises(ScanError):
            slim(source, output, in_place=output is None)
    assert below(tmp_path) == before


def test_a_zip_or_a_directory_is_loaded_to_be_counted(source: Path) -> None:
    slim(source, source.parent / "out.zip", passes=())
    assert load(source.parent / "out.zip").size == load(source).size
    with pytest.raises(ScanError):
        load(source / "app.py")
