"""The command, run as its users run it: another process, its streams, its exit code."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from disk import environment, leftovers, linux_only, populate, posix_only, run_python
from lambdaslim import __version__
from vendored import small_tree

RUNTIME = "python{}.{}".format(*sys.version_info[:2])
COMMAND = [sys.executable, "-m", "lambdaslim"]
COMMANDS = ("pack", "slim", "check", "vendor", "passes", "runtimes")
PASSES = [
    "drop-provided",
    "exclude",
    "promote-bytecode",
    "prune-data",
    "recompress-gzip",
    "strip-bytecode",
    "strip-docstrings",
    "strip-documentation",
    "strip-duplicate-data",
    "strip-elf",
    "strip-installer-leftovers",
    "strip-metadata",
    "strip-sources",
    "strip-tests",
    "strip-typing",
]
LIMIT = 262_144_000
ERROR = "lambdaslim: error: "
ESCAPE = "\x1b"


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the command printed
        """What it printed, read as JSON."""
        return json.loads(self.out)

    def complaint(self, code: int = 2) -> str:
        """Return the one line about what is wrong."""
        assert self.code == code, self
        assert self.err.startswith(ERROR), self
        assert self.err.count("\n") == 1
        assert self.err.endswith("\n")
        assert "Traceback" not in self.err
        return self.err.removeprefix(ERROR).rstrip("\n")


def run(*arguments: str | Path, cwd: Path | None = None, **changes: str) -> Outcome:
    """Run the command, piped, with changed variables."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=environment(changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def pack(source: str | Path, *options: str | Path, out: str | Path | None = None) -> Outcome:
    """Pack `source`; the zip is beside it unless `out` says otherwise."""
    out = out or Path(source).parent / "out.zip"
    return run("pack", source, "-o", out, "--runtime", RUNTIME, *options)


def sparse(place: Path, size: int) -> Path:
    """Make a directory that holds one file of `size` bytes, which takes no room."""
    place.mkdir()
    with (place / "big.bin").open("wb") as file:
        file.truncate(size)
    return place


def snapshot(directory: Path) -> dict[str, tuple[object, ...]]:
    """Return mode, date, inode, size and SHA-256 of everything below a directory.

    The top's own date is left out, since a temporary comes and goes there; so is the content of
    the huge files that `sparse` makes.
    """
    found: dict[str, tuple[object, ...]] = {}
    for place in directory.rglob("*"):
        status = place.lstat()
        whole = place.is_file() and status.st_size < LIMIT - 1_000
        data = place.read_bytes() if whole else b""
        identity = (status.st_mode, status.st_mtime_ns, status.st_ino)
        size = status.st_size if place.is_file() else 0
        found[place.relative_to(directory).as_posix()] = *identity, size, sha256(data).hexdigest()
    return found


def names(archive: Path) -> list[str]:
    """Return the names in a zip."""
    with zipfile.ZipFile(archive) as opened:
        return opened.namelist()


class TestPack:
    def test_all_is_well(self, small: Path) -> None:
        done = pack(small)
        assert (done.code, done.err) == (0, "")
        assert names(small.parent / "out.zip") == [
            "handler.pyc",
            "shapes-1.2.dist-info/METADATA",
            "shapes-1.2.dist-info/entry_points.txt",
            "shapes-1.2.dist-info/licenses/LICENSE",
            "shapes-1.2.dist-info/top_level.txt",
            "shapes/__init__.pyc",
            "shapes/area.pyc",
            "shapes/data/table.csv",
            "shapes/keep/__init__.pyc",
            "shapes/keep/tests/__init__.pyc",
        ]

    def test_the_source_is_left_alone(self, small: Path) -> None:
        before = snapshot(small)
        assert pack(small).code == 0
        assert snapshot(small) == before

    def test_the_text_report(self, small: Path) -> None:
        lines = pack(small, "--compare").out.splitlines()
        assert lines[0].startswith("lambdaslim pack: ")
        assert lines[0].endswith(f" for {RUNTIME} on x86_64, preset safe")
        facts = pack(small, "--json", "--compare", out=small.parent / "again.zip").json
        shown = {line.split()[0]: line.split()[1:] for line in lines if line}
        for row in facts["passes"]:
            figures = [f"{row[key]:,}" for key in ("removed", "replaced", "saved")]
            assert shown[row["pass"]] == figures
        before, after, left = facts["before"], facts["after"], facts["headroom"]
        assert shown["files"] == [str(before["files"]), str(after["files"])]
        for kind, limit in (("unzipped", LIMIT), ("zipped", 52_428_800)):
            figures = [f"{n:,}" for n in (before[kind], after[kind], left[kind], limit)]
            assert shown[kind] == ["bytes", *figures]
        place = lines.index("kept on purpose")
        kept = "  strip-tests: shapes/keep/tests: shapes/__init__.py imports or names"
        assert lines[place + 1] == f"{kept} shapes.keep.tests"
        assert f"wrote {small.parent / 'out.zip'}" in lines
        assert shown["CodeSha256"] == [facts["code_sha256"]]

    def test_what_it_was_zipped_is_measured_on_request_only(self, small: Path) -> None:
        out = small.parent / "again.zip"
        plain, compared = pack(small, "--json").json, pack(small, "--json", "--compare", out=out)
        assert plain["before"]["zipped"] is None
        assert compared.json["before"]["zipped"] > compared.json["after"]["zipped"]
        assert compared.json["sha256"] == plain["sha256"]
        row = next(line for line in pack(small).out.splitlines() if line.startswith("zipped bytes"))
        assert row.split()[2:4] == ["(--compare)", f"{plain['after']['zipped']:,}"]

    def test_the_total_is_the_sum(self, small: Path) -> None:
        done = pack(small)
        facts = pack(small, "--json", out=small.parent / "again.zip").json
        rows = facts["passes"]
        sums = [f"{sum(row[key] for row in rows):,}" for key in ("removed", "replaced", "saved")]
        assert re.search(r"^total +(\S+) +(\S+) +(\S+)$", done.out, re.MULTILINE)[0].split() == [  # type: ignore[index]
            "total",
            *sums,
        ]
        saved = facts["before"]["unzipped"] - facts["after"]["unzipped"]
        assert sum(row["saved"] for row in rows) == saved

    def test_the_figures_are_those_of_the_disk(self, small: Path) -> None:
        facts = pack(small, "--json", "--compare").json
        archive = Path(facts["output"])
        with zipfile.ZipFile(archive) as opened:
            sizes = [member.file_size for member in opened.infolist()]
        assert facts["after"] == {
            "files": len(sizes),
            "unzipped": sum(sizes),
            "zipped": archive.stat().st_size,
        }
        files = [path for path in small.rglob("*") if path.is_file()]
        assert facts["before"]["files"] == len(files)
        assert facts["before"]["unzipped"] == sum(path.stat().st_size for path in files)
        # Nothing changed: the zip of the plain tree is the zip "before".
        skipped = [f"--skip={name}" for name in PASSES]
        plain = pack(small, "--json", *skipped, out=small.parent / "plain.zip").json
        assert plain["changes"] == []
        assert plain["after"]["zipped"] == facts["before"]["zipped"]

    def test_several_sources_overlay(self, small: Path, tmp_path: Path) -> None:
        mine = populate(tmp_path / "mine", {"service.py": ""})
        done = run("pack", small, mine, "-o", tmp_path / "out.zip", "--runtime", RUNTIME)
        assert done.code == 0
        assert {"service.pyc", "handler.pyc"} < set(names(tmp_path / "out.zip"))

    def test_comments_inside_an_import_take_no_time(self, small: Path) -> None:
        names = "".join(f"    name{number},  # why it is imported\n" for number in range(12))
        populate(small, {"mine.py": f"from shapes import (\n{names})\n"})
        out = str(small.parent / "out.zip")
        command = [*COMMAND, "pack", str(small), "-o", out, "--runtime", RUNTIME]
        subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=30)

    def test_an_existing_zip_is_replaced(self, small: Path) -> None:
        (small.parent / "out.zip").write_text("old")
        assert pack(small).code == 0
        assert zipfile.is_zipfile(small.parent / "out.zip")


class TestOptions:
    def test_keep(self, small: Path) -> None:
        facts = pack(small, "--keep", "tests/", "--keep", "*.lock", "--json").json
        # Bytecode is put beside kept sources, which touches no file.
        changed = {one["path"] for one in facts["changes"] if "__pycache__" not in one["path"]}
        assert "shapes/area.py" in changed
        assert not {path for path in changed if "tests/" in path or path == ".lock"}
        reasons = {row["reason"] for row in facts["kept"]}
        assert {"the keep pattern 'tests/'", "the keep pattern '*.lock'"} <= reasons

    def test_drop(self, small: Path) -> None:
        pack(small, "--drop", "*.csv", "--drop", "shapes/keep/", "--drop", "!shapes/keep/tests/")
        kept = names(small.parent / "out.zip")
        assert "shapes/data/table.csv" not in kept
        found = [name for name in kept if "keep" in name and "__pycache__" not in name]
        assert found == ["shapes/keep/tests/__init__.py"]

    @pytest.mark.parametrize("flag", ["--keep", "--drop"])
    def test_a_pattern_that_matches_nothing_is_a_finding(self, small: Path, flag: str) -> None:
        done = pack(small, flag, "nothing/*.here")
        assert done.code == 0
        kind = flag.strip("-")
        assert (
            f"  warning pattern-unused: the {kind} pattern 'nothing/*.here' matches nothing\n"
            in done.out
        )

    def test_strict_refuses_for_a_warning(self, small: Path) -> None:
        done = pack(small, "--drop", "nothing/*.here", "--strict")
        assert done.complaint(1).startswith("pattern-unused: ")
        assert not (small.parent / "out.zip").exists()

    def test_skip(self, small: Path) -> None:
        pack(small, "--skip", "promote-bytecode", "--skip", "strip-tests")
        kept = names(small.parent / "out.zip")
        assert {"handler.py", "shapes/tests/test_area.py"} < set(kept)
        assert not [name for name in kept if name.endswith(".pyc")]

    def test_the_classic_preset(self, small: Path) -> None:
        assert pack(small, "--preset", "classic", "--drop", "bin/", "--drop", ".lock").code == 0
        assert names(small.parent / "out.zip") == [
            "handler.pyc",
            "shapes/__init__.pyc",
            "shapes/area.pyc",
            "shapes/data/table.csv",
            "shapes/keep/__init__.pyc",
        ]

    def test_an_interpreter(self, small: Path) -> None:
        assert pack(small, "--interpreter", sys.executable).code == 0
        assert "handler.pyc" in names(small.parent / "out.zip")

    @pytest.mark.parametrize("preset", ["safe", "classic"])
    def test_a_dry_run_is_the_real_run(self, small: Path, preset: str) -> None:
        parent = snapshot(small.parent)
        planned = pack(small, "--preset", preset, "--dry-run", "--json").json
        assert snapshot(small.parent) == parent
        real = pack(small, "--preset", preset, "--json").json
        assert (planned.pop("written"), planned.pop("output")) == (False, None)
        assert real.pop("written")
        assert real.pop("output")
        assert planned == real

    def test_a_dry_run_says_so(self, small: Path) -> None:
        assert "\nnothing was written: dry run\n" in pack(small, "--dry-run").out

    @posix_only
    def test_symlinks(self, small: Path) -> None:
        (small / "alias.csv").symlink_to("shapes/data/table.csv")
        assert "is a symlink to" in pack(small).complaint()
        assert pack(small, "--symlinks", "inside").code == 0
        with zipfile.ZipFile(small.parent / "out.zip") as opened:
            assert opened.read("alias.csv") == b"side,area\n1,1\n"

    def test_the_runtime_of_slim_is_the_running_one(self, small: Path, tmp_path: Path) -> None:
        assert run("slim", small, "--to", tmp_path / "out", "--json").json["runtime"] == RUNTIME

    def test_the_architecture(self, small: Path) -> None:
        assert pack(small, "--arch", "arm64", "--json").json["architecture"] == "arm64"


class TestSlim:
    def test_to_a_directory(self, small: Path, tmp_path: Path) -> None:
        before = snapshot(small)
        done = run("slim", small, "--to", tmp_path / "out", "--runtime", RUNTIME)
        assert (done.code, done.err) == (0, "")
        assert pack(small).code == 0
        written = (p for p in (tmp_path / "out").rglob("*") if p.is_file())
        written_names = sorted(p.relative_to(tmp_path / "out").as_posix() for p in written)
        assert written_names == names(tmp_path / "out.zip")
        assert snapshot(small) == before

    def test_in_place(self, small: Path, tmp_path: Path) -> None:
        assert run("slim", small, "--to", tmp_path / "out", "--runtime", RUNTIME).code == 0
        assert run("slim", small, "--in-place", "--runtime", RUNTIME).code == 0
        contents = [
            {name: (mode, digest) for name, (mode, *_, digest) in snapshot(place).items()}
            for place in (small, tmp_path / "out")
        ]
        assert contents[0] == contents[1]
        assert leftovers(tmp_path) == []

    @pytest.mark.parametrize(
        "module",
        [
            "import shapes",
            "from shapes.keep.tests import SAMPLE",
            "from shapes.keep import tests",
            "from shapes import keep; keep.tests",
            # The length of this name, in bytecode, is a byte that could be part of a name.
            "import shapes.keep.tests.with_a_name_of_fifty_characters_in",
        ],
    )
    def test_again_changes_nothing(self, small: Path, module: str) -> None:
        """What a source said is still heard from its bytecode."""
        populate(small, {"shapes/__init__.py": "", "mine/__init__.py": f"{module}\n"})
        run("slim", small, "--in-place", "--runtime", RUNTIME)
        facts = run("slim", small, "--in-place", "--runtime", RUNTIME, "--json").json
        assert facts["changes"] == []

    def test_a_dry_run_in_place(self, small: Path) -> None:
        before = snapshot(small.parent)
        assert run("slim", small, "--in-place", "--dry-run").code == 0
        assert snapshot(small.parent) == before

    def test_a_dry_run_clears_nothing_up(self, small: Path) -> None:
        """What a killed run has left is the business of the next real run."""
        populate(small.parent / f".{small.name}.lambdaslim-old", {"old.py": ""})
        before = snapshot(small.parent)
        run("slim", small, "--in-place", "--dry-run")
        assert snapshot(small.parent) == before


class TestCheck:
    def test_a_directory(self, small: Path) -> None:
        done = run("check", small)
        size = sum(path.stat().st_size for path in small.rglob("*") if path.is_file())
        assert (done.code, done.err) == (0, "")
        assert re.search(
            rf"^unzipped +{size:,} +{LIMIT - size:,} +{LIMIT:,}$", done.out, re.MULTILINE
        )

    def test_a_zip(self, small: Path) -> None:
        packed = pack(small, "--json").json
        facts = run("check", packed["output"], "--json").json
        assert facts["size"] == packed["after"]
        assert facts["headroom"] == packed["headroom"]

    @pytest.mark.parametrize(("size", "code"), [(LIMIT - 1, 0), (LIMIT, 1)])
    def test_the_unzipped_limit(self, tmp_path: Path, size: int, code: int) -> None:
        done = run("check", sparse(tmp_path / "big", size))
        assert (done.code, done.err) == (code, "")
        words = "Unzipped size must be smaller than 262144000 bytes"
        assert (words in done.out) == bool(code)
        assert ("Heaviest unzipped: (your own files) 262,144,000" in done.out) == bool(code)

    def test_layers_count(self, small: Path, tmp_path: Path) -> None:
        layer = sparse(tmp_path / "layer", LIMIT - 100)
        done = run("check", small, "--layer", layer)
        assert done.code == 1
        assert "Function code combined with layers exceeds the maximum" in done.out
        facts = run("check", small, "--layer", layer, "--json").json
        assert facts["layers"] == [{"files": 1, "unzipped": LIMIT - 100}]
        assert facts["headroom"]["unzipped"] == 100 - facts["size"]["unzipped"]
        assert [finding["code"] for finding in facts["findings"]] == ["limit-combined"]

    def test_a_layer_may_be_a_zip(self, small: Path) -> None:
        packed = pack(small, "--json").json
        facts = run("check", small, "--layer", packed["output"], "--json").json
        unzipped = packed["after"]["unzipped"]
        assert facts["layers"] == [{"files": packed["after"]["files"], "unzipped": unzipped}]

    def test_the_zipped_limit(self, tmp_path: Path) -> None:
        archive = tmp_path / "big.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr("big.bin", bytes(52_428_800))
        done = run("check", archive)
        assert done.code == 1
        assert "Zipped size must be smaller than 52428800 bytes" in done.out
        assert run("check", archive, "--upload", "s3").code == 0

    def test_strict(self, tmp_path: Path) -> None:
        tree = populate(tmp_path / "tree", {"aux.py": ""})
        assert run("check", tree).code == 0
        done = run("check", tree, "--strict")
        assert done.code == 1
        assert "warning name-reserved: Windows cannot extract aux.py" in done.out


class TestOversize:
    """A package that is over a limit because of its layers, which takes no time to make."""

    @pytest.fixture
    def layer(self, tmp_path: Path) -> Path:
        return sparse(tmp_path / "layer", LIMIT)

    def test_it_is_refused(self, small: Path, layer: Path) -> None:
        (small.parent / "out.zip").write_text("old")
        before = snapshot(small.parent)
        done = pack(small, "--layer", layer)
        assert done.complaint(1).startswith("limit-combined: The package is 262,145,")
        assert "\nnothing was written: a check failed\n" in done.out
        assert "  error limit-combined: The package is 262,145," in done.out
        assert snapshot(small.parent) == before

    def test_in_json_too(self, small: Path, layer: Path) -> None:
        done = pack(small, "--layer", layer, "--json")
        assert done.code == 1
        assert (done.json["written"], done.json["output"]) == (False, None)
        assert [f["code"] for f in done.json["findings"]] == ["limit-combined"]

    def test_a_directory_is_refused_too(self, small: Path, layer: Path, tmp_path: Path) -> None:
        before = snapshot(tmp_path)
        run("slim", small, "--to", tmp_path / "out", "--layer", layer).complaint(1)
        run("slim", small, "--in-place", "--layer", layer).complaint(1)
        assert snapshot(tmp_path) == before

    def test_a_dry_run_fails_in_the_same_way(self, small: Path, layer: Path) -> None:
        assert pack(small, "--layer", layer, "--dry-run").complaint(1).startswith("limit-combined")

    def test_it_can_be_allowed(self, small: Path, layer: Path) -> None:
        done = pack(small, "--layer", layer, "--allow-oversize")
        # Written, and still not deployable: the exit code says so.
        note = "lambdaslim: note: written all the same, with exit code 1: limit-combined\n"
        assert (done.code, done.err) == (1, note)
        assert zipfile.is_zipfile(small.parent / "out.zip")
        assert "  error limit-combined" in done.out

    def test_six_layers(self, small: Path) -> None:
        done = pack(small, *(f"--layer={small}" for _ in range(6)))
        assert "6 layers; a function can have 5." in done.complaint(1)


class TestVendor:
    @pytest.fixture
    def installer(self, tmp_path: Path) -> Path:
        """Return a directory with a `uv` that installs nothing and complains."""
        lines = ("#!/bin/sh", '[ "$1" = --version ] && echo "uv 0.13.9" && exit', "echo no >&2")
        place = populate(tmp_path / "bin", {"uv": "\n".join([*lines, "exit 1\n"])})
        (place / "uv").chmod(0o755)
        return place

    @posix_only
    def test_a_failing_installer_is_exit_3(self, installer: Path, tmp_path: Path) -> None:
        into = tmp_path / "into"
        path = f"{installer}{os.pathsep}{os.environ['PATH']}"
        arguments = ("vendor", "six", "--into", into, "--runtime", RUNTIME, "--installer", "uv")
        assert "uv 0.13.9 failed: no" in run(*arguments, PATH=path).complaint(3)
        assert not into.exists()

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--requirement"],
            ["-e"],
            ["--no-such-option"],
            ["-r", "missing.txt"],
            ["six", "--runtime", "python2.7"],
            ["six", "--arch", "mips"],
        ],
    )
    def test_usage(self, tmp_path: Path, arguments: list[str]) -> None:
        head = ("vendor", "--into", "into", "--runtime", RUNTIME)
        done = run(*head, *arguments, cwd=tmp_path, PATH=str(tmp_path))
        assert done.code == 2
        assert done.err
        assert "Traceback" not in done.err
        assert list(tmp_path.iterdir()) == []

    def test_a_directory_in_use(self, small: Path) -> None:
        before = snapshot(small)
        done = run("vendor", "six", "--into", small, "--runtime", RUNTIME)
        assert "is not empty" in done.complaint()
        assert snapshot(small) == before


class TestLists:
    def test_passes(self) -> None:
        facts = run("passes", "--json").json
        assert (facts["version"], facts["command"]) == (1, "passes")
        rows = {row["name"]: row for row in facts["passes"]}
        assert sorted(rows) == PASSES
        assert {frozenset(row) for row in facts["passes"]} == {
            frozenset({"name", "summary", "options", "presets"})
        }
        assert rows["strip-metadata"]["options"] == {"keep": "minimal"}
        text = run("passes").out
        assert all(f"\n  {row['summary']}\n" in text for row in facts["passes"])

    def test_runtimes(self) -> None:
        facts = run("runtimes", "--json").json
        assert (facts["version"], facts["command"]) == (1, "runtimes")
        listed = [row["name"] for row in facts["runtimes"]]
        assert listed == [f"python3.{minor}" for minor in range(8, 16)]
        assert all(row["glibc"] and row["architectures"] for row in facts["runtimes"])
        lines = run("runtimes").out.splitlines()
        assert [line.split()[0] for line in lines] == ["runtime", *listed]

    def test_json_without_an_installer_or_source(self) -> None:
        assert run("runtimes", "--json", PATH="").code == 0


class TestJson:
    def test_the_keys_of_pack(self, small: Path) -> None:
        facts = pack(small, "--json").json
        assert facts["version"] == 1
        assert set(facts) == {
            *("version", "command", "sources", "runtime", "architecture", "preset", "written"),
            *("output", "before", "after", "layers", "limits", "headroom", "sha256"),
            *(
                "sources_companion",
                "compressor",
                "offers",
                "code_sha256",
                "content_digest",
                "passes",
                "changes",
                "kept",
                "verification",
                "diagnosis",
                "findings",
            ),
        }
        assert set(facts["before"]) == set(facts["after"]) == {"files", "unzipped", "zipped"}
        assert set(facts["limits"]) == set(facts["headroom"]) == {"unzipped", "zipped"}
        keys = {
            "passes": {"pass", "removed", "replaced", "added", "saved"},
            "changes": {"pass", "path", "new_path", "reason", "before", "after"},
            "kept": {"pass", "reason", "paths"},
        }
        for name, expected in keys.items():
            assert facts[name]
            assert all(set(row) == expected for row in facts[name])

    def test_the_keys_of_check(self, small: Path) -> None:
        facts = run("check", small, "--layer", small, "--json").json
        assert (facts["version"], facts["command"]) == (1, "check")
        assert set(facts) == {
            *("version", "command", "package", "size", "layers", "limits", "headroom", "findings"),
            *("runtime", "architecture"),
        }

    def test_the_keys_of_a_finding(self, small: Path) -> None:
        facts = pack(small, "--drop", "nothing.here", "--json").json
        assert facts["findings"] == [
            {
                "code": "pattern-unused",
                "severity": "warning",
                "message": "the drop pattern 'nothing.here' matches nothing",
                "path": None,
            }
        ]

    def test_a_directory_has_no_zip(self, small: Path, tmp_path: Path) -> None:
        facts = run("slim", small, "--to", tmp_path / "out", "--json").json
        assert facts["after"]["zipped"] is None
        assert facts["sha256"] is None
        assert facts["content_digest"]


HELP = {
    "pack": """SRC --output OUT.zip --runtime --arch --preset --keep --drop --skip --layer --upload
        --no-knowledge --no-hazards --strict --allow-oversize --allow --symlinks --interpreter
        --bytecode --optimize --root --require-bytecode --sources --verify --heal --handler --event
        --run --config --dry-run --json""",
    "slim": """SRC --to --in-place --runtime --arch --preset --keep --drop --skip --layer
        --no-knowledge --no-hazards --strict --allow-oversize --allow --symlinks --interpreter
        --verify --heal --handler --event --run --config --dry-run --json""",
    "check": "ZIP|DIR --layer --upload --strict --json",
    "vendor": "REQ -r --into --installer --runtime --arch --json",
    "passes": "--json",
    "runtimes": "--json",
}


class TestUsage:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_help_mentions_every_option(self, command: str) -> None:
        done = run(command, "--help", COLUMNS="80")
        assert (done.code, done.err) == (0, "")
        missing = [word for word in HELP[command].split() if word not in done.out]
        assert not missing

    @pytest.mark.parametrize("command", COMMANDS)
    def test_help_explains_every_option(self, command: str) -> None:
        """Each option's line, or the one below it, says something."""
        text = run(command, "--help", COLUMNS="200").out
        silent = re.findall(r"^  (-\S+)(?: \S+)?\n(?! {20})", text, re.MULTILINE)
        assert not silent

    def test_the_main_help_lists_commands_and_exit_codes(self) -> None:
        text = run("--help").out
        assert all(re.search(rf"^    {command} ", text, re.MULTILINE) for command in COMMANDS)
        assert [line.split()[0] for line in text.splitlines()[-4:]] == ["0", "1", "2", "3"]

    def test_version(self) -> None:
        done = run("--version")
        assert (done.code, done.out, done.err) == (0, f"lambdaslim {__version__}\n", "")

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["nonsense"],
            ["pack"],
            ["pack", "SRC", "--runtime", RUNTIME],
            ["slim", "SRC"],
            ["slim", "SRC", "--to", "out", "--in-place"],
            ["check", "SRC", "--upload", "fax"],
            ["pack", "SRC", "-o", "out.zip", "--runtime", RUNTIME, "--symlinks", "maybe"],
            ["passes", "--runtime", RUNTIME],
        ],
    )
    def test_unparsable_arguments(self, small: Path, arguments: list[str]) -> None:
        before = snapshot(small.parent)
        done = run(*(str(small) if one == "SRC" else one for one in arguments), cwd=small.parent)
        assert (done.code, done.out) == (2, "")
        (line,) = done.err.splitlines()
        assert line.startswith("lambdaslim: error: ")
        assert "--help`" in line
        assert snapshot(small.parent) == before

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--skip", "strip-test"], "strip-test: is not a pass; choose from drop-provided, "),
            (["--preset", "tiny"], "tiny: is not a preset; choose one of safe, small, classic"),
            (["--keep", "[z-a]"], "[z-a]: is not a pattern: "),
            (["--drop", ""], "'': is empty"),
            (["--drop", "**/a/" * 11], "holds more than 3 '**'"),
            (["--arch", "mips"], "mips: is not an architecture of "),
            (
                ["--runtime", "python2.7"],
                "python2.7: is not a Lambda runtime that lambdaslim knows",
            ),
            (["--layer", "missing.zip"], "missing.zip: "),
            (["--interpreter", "missing-python"], "missing-python: is neither a file nor"),
        ],
    )
    def test_unknown_names(self, small: Path, options: list[str], words: str) -> None:
        before = snapshot(small.parent)
        assert words in pack(small, *options).complaint()
        assert snapshot(small.parent) == before


class TestBadInput:
    """Each ends in one clear line, the right exit code, nothing written and nothing changed."""

    @pytest.fixture(autouse=True)
    def unchanged(self, tmp_path: Path) -> Iterator[None]:
        """Compare the test's directory before and after the command."""
        self.place = tmp_path
        self.before = snapshot(tmp_path)
        yield
        assert snapshot(tmp_path) == self.before

    def prepared(self) -> None:
        """Take what the test has made for what was there before."""
        self.before = snapshot(self.place)

    def test_no_such_directory(self, tmp_path: Path) -> None:
        assert "missing: cannot be scanned: No such file" in pack(tmp_path / "missing").complaint()

    def test_an_empty_tree(self, tmp_path: Path) -> None:
        (tmp_path / "empty" / "inner").mkdir(parents=True)
        self.prepared()
        assert "empty: holds no files" in pack(tmp_path / "empty").complaint()

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        self.prepared()
        assert "file: is not a directory" in pack(tmp_path / "file").complaint()

    @pytest.mark.parametrize("out", ["vendored/out.zip", "vendored/shapes/data/out.zip"])
    def test_output_inside_the_source(self, tmp_path: Path, out: str) -> None:
        small = small_tree(tmp_path / "vendored")
        self.prepared()
        assert "is inside the source" in pack(small, out=tmp_path / out).complaint()

    def test_output_directory_inside_the_source(self, tmp_path: Path) -> None:
        small = small_tree(tmp_path / "vendored")
        self.prepared()
        assert "is inside the source" in run("slim", small, "--to", small / "out").complaint()

    def test_output_around_the_source(self, tmp_path: Path) -> None:
        small = small_tree(tmp_path / "vendored")
        self.prepared()
        run("slim", small, "--to", tmp_path).complaint()

    @posix_only
    def test_output_inside_the_source_by_a_link(self, tmp_path: Path) -> None:
        small = small_tree(tmp_path / "vendored")
        (tmp_path / "alias").symlink_to(small)
        self.prepared()
        out = tmp_path / "alias" / "out.zip"
        assert "is inside the source" in pack(small, out=out).complaint()

    def test_an_unknown_runtime(self, tmp_path: Path) -> None:
        small = small_tree(tmp_path / "vendored")
        self.prepared()
        done = run("pack", small, "-o", tmp_path / "out.zip", "--runtime", "python4.0")
        fix = "choose one of python3.8, python3.9"
        assert (
            f"python4.0: is not a Lambda runtime that lambdaslim knows; {fix}" in done.complaint()
        )

    def test_a_tree_over_the_limits(self, tmp_path: Path) -> None:
        big = sparse(tmp_path / "big", LIMIT)
        self.prepared()
        assert pack(big).complaint(1).startswith("limit-unzipped: ")

    @posix_only
    def test_a_symlink_that_leaves_the_tree(self, tmp_path: Path) -> None:
        small = small_tree(tmp_path / "vendored")
        secret = populate(tmp_path / "elsewhere", {"secret.txt": "s"})
        (small / "shapes" / "link").symlink_to(secret / "secret.txt")
        self.prepared()
        assert "secret.txt, outside the tree" in pack(small).complaint()
        assert "outside the tree" in pack(small, "--symlinks", "inside").complaint()

    @linux_only
    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            (b"a\x1b[31mb", r"a\x1b[31mb"),
            (b"a\nb", r"a\nb"),
            (b"a\\b", r"a\b"),
            (b"a:b", "a:b"),
            (b"a\xff", r"a\udcff"),
            (b"a\x7f", r"a\x7f"),
        ],
    )
    def test_a_name_that_lambda_cannot_hold(self, tmp_path: Path, name: bytes, shown: str) -> None:
        small = small_tree(tmp_path / "vendored")
        (small / os.fsdecode(name)).touch()
        self.prepared()
        assert pack(small).complaint().startswith(f"{shown}: holds a backslash, a colon, ")

    def test_everything_removed(self, tmp_path: Path) -> None:
        small = small_tree(tmp_path / "vendored")
        self.prepared()
        assert "no file is left to write" in pack(small, "--drop", "*").complaint()

    def test_an_output_directory_in_use(self, tmp_path: Path) -> None:
        small = small_tree(tmp_path / "vendored")
        used = populate(tmp_path / "used", {"mine.txt": ""})
        self.prepared()
        assert "holds files already" in run("slim", small, "--to", used).complaint()
        dry = run("slim", small, "--to", used, "--dry-run")
        assert "holds files already" in dry.complaint(), "a dry run tells what the real one will"

    @pytest.mark.parametrize("out", ["missing/out.zip", "out.tar", "directory.zip"])
    def test_an_impossible_output(self, tmp_path: Path, out: str) -> None:
        small = small_tree(tmp_path / "vendored")
        (tmp_path / "directory.zip").mkdir()
        self.prepared()
        assert out in pack(small, out=tmp_path / out).complaint()

    def test_sources_that_differ(self, tmp_path: Path) -> None:
        small = small_tree(tmp_path / "vendored")
        mine = populate(tmp_path / "mine", {"handler.py": "other"})
        self.prepared()
        out = tmp_path / "out.zip"
        text = run("pack", small, mine, "-o", out, "--runtime", RUNTIME).complaint()
        assert str(small / "handler.py") in text
        assert str(mine / "handler.py") in text

    def test_an_empty_name_is_not_the_working_directory(self, tmp_path: Path) -> None:
        """`pack "$UNSET"` would package whatever is here, `slim --in-place` would change it."""
        small = small_tree(tmp_path / "vendored")
        self.prepared()
        out = str(tmp_path / "out.zip")
        run("pack", "", "-o", out, "--runtime", RUNTIME, "--dry-run", cwd=small).complaint()
        run("slim", "", "--in-place", "--dry-run", cwd=small).complaint()

    @pytest.mark.parametrize("precious", [sys.prefix, Path.home(), Path.home().anchor])
    def test_places_never_slimmed_in_place(self, precious: str | Path) -> None:
        assert "is never slimmed" in run("slim", precious, "--in-place", "--dry-run").complaint()

    def test_two_sources_in_place(self, tmp_path: Path) -> None:
        small = small_tree(tmp_path / "vendored")
        self.prepared()
        assert "exactly one source" in run("slim", small, small, "--in-place").complaint()

    @pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"no zip"])
    def test_checking_what_is_no_package(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "bad.zip").write_bytes(content)
        self.prepared()
        assert "bad.zip: cannot be read as a zip" in run("check", tmp_path / "bad.zip").complaint()

    def test_checking_nothing(self, tmp_path: Path) -> None:
        assert "No such file" in run("check", tmp_path / "missing").complaint()


@linux_only
def test_an_escape_in_an_argument_is_shown_as_text(small: Path, tmp_path: Path) -> None:
    done = pack(small, out=tmp_path / f"{ESCAPE}.zip")
    assert done.code == 0
    assert ESCAPE not in done.out
    assert rf"wrote {tmp_path}/\x1b.zip" in done.out
    for option in ("--skip", "--keep", "--drop", "--preset", "--arch", "--layer"):
        complaint = pack(small, option, f"{ESCAPE}[2J").complaint()
        assert complaint.startswith(r"\x1b[2J: ")


class TestStreams:
    @pytest.mark.parametrize("arguments", [("passes",), ("runtimes", "--json"), ("--help",)])
    def test_a_reader_that_has_gone(self, arguments: Sequence[str]) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            done = subprocess.run(
                [*COMMAND, *arguments],
                env=environment(),
                stdout=pipe,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.stderr == ""

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
    @pytest.mark.parametrize("arguments", [["passes"], ["--help"], ["--version"]])
    def test_a_full_disk_is_told(self, arguments: list[str]) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert done.returncode == 2
        assert done.stderr.startswith("lambdaslim: error: ")
        assert "Traceback" not in done.stderr

    @posix_only
    def test_head(self) -> None:
        line = f"{sys.executable} -m lambdaslim runtimes --json | head -1"
        done = subprocess.run(
            ["/bin/sh", "-c", line], env=environment(), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")

    @posix_only
    @pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-"])
    def test_a_closed_stream(self, small: Path, closing: str) -> None:
        command = f'"$@" {closing}'
        arguments = ["pack", str(small), "-o", f"{small.parent}/out.zip", "--runtime", RUNTIME]
        done = subprocess.run(
            ["/bin/sh", "-c", command, "sh", *COMMAND, *arguments],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert zipfile.is_zipfile(small.parent / "out.zip")

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
    def test_a_full_disk_for_the_report(self) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [*COMMAND, "runtimes"],
                env=environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        complaint = Outcome(done.returncode, "", done.stderr).complaint()
        assert "standard output: cannot be written: No space left on device" in complaint

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
    @pytest.mark.parametrize(("arguments", "code"), [(["runtimes"], 0), (["check", "absent"], 2)])
    def test_a_full_disk_for_complaints(self, arguments: list[str], code: int) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [*COMMAND, *arguments],
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=full,
                check=False,
            )
        assert done.returncode == code

    def test_an_encoding_that_lacks_a_character(self, tmp_path: Path) -> None:
        tree = populate(tmp_path / "ärea", {"a.txt": ""})
        done = run(
            *("pack", tree, "-o", tmp_path / "out.zip", "--runtime", RUNTIME),
            PYTHONIOENCODING="ascii",
        )
        assert (done.code, done.err) == (0, "")
        assert r"\xe4rea" in done.out

    @linux_only
    def test_names_do_not_depend_on_the_locale(self, tmp_path: Path) -> None:
        tree = populate(tmp_path / "tree", {"ärea.txt": "1"})
        plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        arguments = ("pack", tree, "-o", tmp_path / "out.zip", "--runtime", RUNTIME, "--json")
        usual = run(*arguments).json
        assert run(*arguments, cwd=None, **plain).json["sha256"] == usual["sha256"]

    def test_no_colour_in_a_pipe(self, small: Path) -> None:
        assert ESCAPE not in pack(small, "--drop", "nothing.here").out


@dataclass(frozen=True)
class Screen:
    """What a run showed on two terminals."""

    code: int
    out: str
    err: str


def on_terminals(*arguments: str | Path, **changes: str) -> Screen:
    """Run the command with a terminal for stdout and another for stderr."""
    pty = pytest.importorskip("pty", reason="the system has no pseudo-terminals")
    (out, out_end), (err, err_end) = pty.openpty(), pty.openpty()
    clean = {k: v for k, v in environment(changes).items() if k not in {"NO_COLOR"} - {*changes}}
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=clean,
        stdin=subprocess.DEVNULL,
        stdout=out_end,
        stderr=err_end,
    ) as process:
        os.close(out_end)
        os.close(err_end)
        shown = [_drain(out), _drain(err)]
    return Screen(process.returncode, *shown)


def _drain(terminal: int) -> str:
    """Read a terminal until nobody writes to it any more."""
    data = b""
    with os.fdopen(terminal, "rb", buffering=0) as stream:
        while True:
            try:
                piece = stream.read(4096)
            except OSError as error:
                if error.errno != errno.EIO:  # Linux's way to say that it is over
                    raise
                break
            if not piece:
                break
            data += piece
    return data.decode().replace("\r\n", "\n")


@posix_only
class TestTerminal:
    @pytest.fixture
    def arguments(self, small: Path) -> list[str | Path]:
        place = small.parent / "out.zip"
        return ["pack", small, "-o", place, "--runtime", RUNTIME, "--drop", "nothing.here"]

    def test_progress_and_colour(self, arguments: list[str | Path]) -> None:
        screen = on_terminals(*arguments)
        assert screen.code == 0
        lines = screen.err.splitlines()
        assert lines
        assert all(line.startswith("lambdaslim: ") for line in lines)
        assert any("slimming " in line for line in lines)
        assert "\x1b[33mwarning pattern-unused\x1b[0m: " in screen.out
        # Escapes belong to colours; progress lines stay plain.
        assert ESCAPE not in screen.err
        assert "slimming" not in screen.out

    def test_no_color(self, arguments: list[str | Path]) -> None:
        screen = on_terminals(*arguments, NO_COLOR="1")
        assert ESCAPE not in screen.out
        assert "warning pattern-unused: " in screen.out

    def test_an_empty_no_color_counts_for_nothing(self, arguments: list[str | Path]) -> None:
        assert ESCAPE in on_terminals(*arguments, NO_COLOR="").out

    def test_json_has_no_colour(self, arguments: list[str | Path]) -> None:
        screen = on_terminals(*arguments, "--json")
        assert json.loads(screen.out)["written"]


# An interruption between taking a lock and entering its block leaves the lock taken. It can come
# wherever a thread starts or a result is waited for, while files are compressed.
INTERRUPTED = """
import sys, threading
from lambdaslim import cli

enter, left = threading.Condition.__enter__, int(sys.argv[1])

def interrupted(self):
    global left
    got, frame, names = enter(self), sys._getframe(), set()
    while frame:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    if "pack_all" in names and threading.current_thread() is threading.main_thread():
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
    return got

threading.Condition.__enter__ = interrupted
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_ctrl_c_at_a_bad_moment_ends_the_run(small: Path, moment: int) -> None:
    out = small.parent / "out.zip"
    populate(small, {f"data/{number}.bin": "x" * 1_000_000 for number in range(40)})
    arguments = ("pack", small, "-o", out, "--runtime", RUNTIME)
    done = run_python(INTERRUPTED, str(moment), *arguments, timeout=20)
    assert done.returncode == 130
    assert leftovers(small.parent) == []
    assert not out.exists()


ENDINGS = [signal.SIGINT, signal.SIGTERM, *([] if os.name == "nt" else [signal.SIGHUP])]


@posix_only
class TestSignals:
    """A run is stopped while it writes; the test's tree takes it long enough to be caught."""

    @pytest.fixture(autouse=True)
    def heard(self) -> Iterator[None]:
        """Let children hear SIGINT, though a shell may have started us with it ignored."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    @pytest.fixture
    def slow(self, tmp_path: Path) -> Path:
        tree = tmp_path / "slow"
        tree.mkdir()
        for number in range(24):
            (tree / f"{number}.bin").write_bytes(os.urandom(4_000_000))
        return tree

    @contextmanager
    def writing(self, partial: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
        """Run the command, and the block once its temporary is there."""
        with subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                deadline = time.monotonic() + 60
                while not partial.exists() and process.poll() is None:
                    assert time.monotonic() < deadline, "it never began to write"
                    time.sleep(0.002)
                yield process
            finally:
                with suppress(ProcessLookupError):
                    process.kill()

    @pytest.mark.parametrize("number", ENDINGS, ids=lambda n: n.name)
    @pytest.mark.parametrize("old", [None, "an older zip"])
    def test_a_zip(self, slow: Path, number: signal.Signals, old: str | None) -> None:
        out = slow.parent / "out.zip"
        if old:
            out.write_text(old)
        before = snapshot(slow)
        arguments = ("pack", slow, "-o", out, "--runtime", RUNTIME)
        with self.writing(slow.parent / ".out.zip.lambdaslim-partial", *arguments) as process:
            process.send_signal(number)
            text, complaint = process.communicate(timeout=20)
        assert process.returncode == 128 + number
        assert (text, complaint) == ("", "lambdaslim: error: interrupted\n")
        assert snapshot(slow) == before
        assert leftovers(slow.parent) == []
        assert (out.read_text() if out.exists() else None) == old

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
    def test_a_directory_in_place(self, slow: Path, number: signal.Signals) -> None:
        before = snapshot(slow)
        partial = slow.parent / f".{slow.name}.lambdaslim-partial"
        arguments = ("slim", slow, "--in-place", "--drop", "0.bin")
        with self.writing(partial / "23.bin", *arguments) as process:
            process.send_signal(number)
            _, complaint = process.communicate(timeout=20)
        assert process.returncode == 128 + number
        assert "Traceback" not in complaint
        assert snapshot(slow) == before
        assert leftovers(slow.parent) == []

    def test_ctrl_c_says_so(self, slow: Path) -> None:
        arguments = ("pack", slow, "-o", slow.parent / "out.zip", "--runtime", RUNTIME)
        with self.writing(slow.parent / ".out.zip.lambdaslim-partial", *arguments) as process:
            process.send_signal(signal.SIGINT)
            _, complaint = process.communicate(timeout=20)
        assert complaint.startswith(f"{ERROR}interrupted")
        assert complaint.count("\n") == 1
