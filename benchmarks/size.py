#!/usr/bin/env python3
"""Sizes of the packages that lambdaslim, the classic recipe and other tools make, and do they work.

Usage: size.py [NAME ...] [--only TEXT ...] [--reuse FILE] [--json FILE]

Every contestant makes a zip of each corpus of corpora.toml. The zip is unpacked, its files are
weighed, and the corpus's program is run on them. Prints a table for each corpus, one of what each
pass of lambdaslim saved, and the sums. A contestant without a package is a row with the reason.

lambdaslim is given the program as the function's code, for it looks there for what is used. The
recipe and the other tools do not look; some get a handler of two lines, which they demand.

--only leaves out the contestants whose names contain none of the texts, except the recipe.
--reuse takes the rows of the contestants other than lambdaslim from an earlier --json file: they
take most of the time, and stay the same as long as the pins do.

pip chose wheels for a newer C library than that of the runtime, whose findings are allowed for this
reason; sizes and programs have nothing to do with it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import corpora
import peers

RECIPE_SCRIPT = Path(__file__).resolve().parent.parent / "tests" / "classic_recipe.sh"
# Makes a zip of a corpus in an empty directory, or raises PeerError.
Contestant = Callable[[corpora.Corpus, Path], Path]

# What the recipe deletes for being provided; a contestant that keeps it has it on top.
SDK_DIRECTORIES = {"boto3", "botocore", "dateutil", "jmespath", "s3transfer"}
INSTALLED, RECIPE = "installed, zip -r9", "the classic recipe"
SAFE, SMALL, MAX = "lambdaslim safe", "lambdaslim small", "lambdaslim small, max"
OURS = {
    SAFE: ("--preset", "safe"),
    SMALL: ("--preset", "small"),
    MAX: ("--preset", "small", "--compression", "max"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What one contestant made of a corpus.

    Attributes:
        corpus: its name.
        contestant: what tables call it.
        unzipped: bytes of all files in the zip, None without a zip.
        zipped: bytes of the zip, None without one.
        works: "OK", what went wrong in the program, or why there is no zip.
        sdk: bytes of the unzipped files in SDK_DIRECTORIES.
        saved: bytes that each pass saved, of lambdaslim only.
    """

    corpus: str
    contestant: str
    unzipped: int | None
    zipped: int | None
    works: str
    sdk: int = 0
    saved: dict[str, int] = field(default_factory=dict)

    @property
    def working(self) -> bool:
        """Whether there is a package, and the program runs on it."""
        return self.works == "OK"


def main() -> None:
    """Measure and print."""
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("names", nargs="*", metavar="NAME")
    ask.add_argument("--only", action="append", default=[], metavar="TEXT")
    ask.add_argument("--reuse", type=Path)
    ask.add_argument("--json", type=Path)
    given = ask.parse_args()
    known = earlier(given.reuse) if given.reuse else {}
    rows: list[Row] = []
    for name in corpora.chosen(given.names):
        made = list(contest(corpora.load().sets[name], known, given.only))
        table(made)
        rows += made
        if given.json:
            # After each corpus: all of them take an hour and more.
            text = json.dumps([asdict(row) for row in rows], indent=1)
            given.json.write_text(text + "\n", encoding="utf-8")
    overview(rows)
    passes_table(rows)
    sums(rows)


def earlier(path: Path) -> dict[tuple[str, str], Row]:
    """Read rows of a --json file, by corpus and contestant; lambdaslim's own are left out."""
    rows = [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    return {(row.corpus, row.contestant): row for row in rows if row.contestant not in OURS}


def contest(
    corpus: corpora.Corpus, known: dict[tuple[str, str], Row], only: list[str]
) -> Iterator[Row]:
    """Yield a row for each contestant, the known ones as they are."""
    contestants: dict[str, Contestant] = {INSTALLED: plain_zip, RECIPE: recipe}
    contestants |= {name: Ours(options) for name, options in OURS.items()}
    contestants |= {peer.title: peer.pack for peer in peers.ALL}
    for name, pack in contestants.items():
        if not only or name == RECIPE or any(text in name for text in only):
            yield known.get((corpus.name, name)) or measure(corpus, name, pack)


def measure(corpus: corpora.Corpus, name: str, pack: Contestant) -> Row:
    """Let one contestant pack a corpus, weigh the package, and try it."""
    print(f"{corpus.name}: {name}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        work, task = Path(scratch) / "work", Path(scratch) / "task"
        work.mkdir()
        try:
            package = pack(corpus, work)
        except peers.PeerError as error:
            return Row(corpus.name, name, None, None, str(error))
        unzipped, sdk = unpack(package, task)
        works = corpora.works(corpus.name, task)
        saved = pack.saved if isinstance(pack, Ours) else {}
        return Row(corpus.name, name, unzipped, package.stat().st_size, works, sdk, saved)


def unpack(package: Path, task: Path) -> tuple[int, int]:
    """Unpack a zip; return the bytes of its files, and of those in the SDK's directories."""
    with zipfile.ZipFile(package) as archive:
        archive.extractall(task)
        members = archive.infolist()
    ours = [member for member in members if member.filename.split("/")[0] in SDK_DIRECTORIES]
    return sum(one.file_size for one in members), sum(one.file_size for one in ours)


def plain_zip(corpus: corpora.Corpus, directory: Path) -> Path:
    """Zip what is installed."""
    return zip_command(corpora.installed(corpus.name), directory / "package.zip")


def recipe(corpus: corpora.Corpus, directory: Path) -> Path:
    """Follow the recipe on a copy, and zip what it leaves."""
    copy = directory / "copy"
    shutil.copytree(corpora.installed(corpus.name), copy, symlinks=True)
    tag = f"cpython-{corpora.load().python.replace('.', '')}"
    peers.run(["sh", str(RECIPE_SCRIPT), str(copy), tag], directory)
    return zip_command(copy, directory / "package.zip")


def zip_command(source: Path, output: Path) -> Path:
    """Zip a directory as the recipe does."""
    peers.run(["zip", "-r9q", str(output), "."], source)
    return output


@dataclass(slots=True)
class Ours:
    """lambdaslim with some options; keeps what each pass saved."""

    options: tuple[str, ...]
    saved: dict[str, int] = field(default_factory=dict)

    def __call__(self, corpus: corpora.Corpus, directory: Path) -> Path:
        """Pack a corpus."""
        output = directory / "package.zip"
        target = ["--runtime", corpora.load().runtime, "--arch", corpora.load().architecture]
        allowed = ["--allow-oversize", "--upload=s3", "--allow=compat-glibc"]
        function = directory / "function"
        function.mkdir()
        shutil.copy(corpus.program, function / "function.py")
        sources = [str(corpora.installed(corpus.name)), str(function)]
        command = [sys.executable, "-m", "lambdaslim", "pack", *sources, "-o", str(output)]
        done = subprocess.run(
            [*command, *target, *allowed, *self.options, "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        if not output.exists():
            said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            raise peers.PeerError(said[-1][:200])
        self.saved = {row["pass"]: row["saved"] for row in json.loads(done.stdout)["passes"]}
        return output


def table(rows: list[Row]) -> None:
    """Print a Markdown table of one corpus, with ratios to the recipe."""
    base = next(row for row in rows if row.contestant == RECIPE)
    print(f"\n### {corpora.load().sets[base.corpus].title}\n")
    print("| contestant | unzipped | of it SDK | zipped | to the recipe | works |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for row in rows:
        if row.unzipped is None or row.zipped is None:
            print(f"| {row.contestant} | | | | | no package: {row.works} |")
            continue
        ratio = "" if row is base else ratios(row, base)
        works = "yes" if row.working else f"no: {row.works}"
        sizes = f"{row.unzipped:,} | {row.sdk:,} | {row.zipped:,}"
        print(f"| {row.contestant} | {sizes} | {ratio} | {works} |")
    print(f"\nSmallest that works: {smallest(rows)}", flush=True)


def ratios(row: Row, base: Row) -> str:
    """Return both sizes over those of another row."""
    unzipped = (row.unzipped or 0) / (base.unzipped or 1)
    return f"{unzipped:.3f}, {(row.zipped or 0) / (base.zipped or 1):.3f}"


def smallest(rows: list[Row]) -> str:
    """Return who made the smallest working package, unzipped and zipped."""
    working = [row for row in rows if row.working]
    if not working:
        return "none"
    unzipped = min(working, key=lambda row: row.unzipped or 0)
    zipped = min(working, key=lambda row: row.zipped or 0)
    return f"{unzipped.contestant} (unzipped), {zipped.contestant} (zipped)."


def overview(rows: list[Row]) -> None:
    """Print one table of all corpora: megabytes unzipped / zipped, a dagger where it fails."""
    found = {(row.contestant, row.corpus): row for row in rows}
    names = list(dict.fromkeys(row.corpus for row in rows))
    print("\n### Megabytes unzipped / zipped; † the program fails on it\n")
    print(f"| contestant | {' | '.join(names)} |")
    print(f"| --- |{' ---: |' * len(names)}")
    for contestant in dict.fromkeys(row.contestant for row in rows):
        cells = [megabytes(found.get((contestant, name))) for name in names]
        print(f"| {contestant} | {' | '.join(cells)} |")


def megabytes(row: Row | None) -> str:
    """Return both sizes of a row in millions of bytes."""
    if row is None or row.unzipped is None or row.zipped is None:
        return "none"
    return f"{row.unzipped / 1e6:.1f} / {row.zipped / 1e6:.1f}{'' if row.working else ' †'}"


def passes_table(rows: list[Row]) -> None:
    """Print what each pass saved, in bytes unzipped, per corpus."""
    for contestant in (SAFE, SMALL):
        ours = [row for row in rows if row.contestant == contestant and row.saved]
        names = dict.fromkeys(name for row in ours for name in row.saved)
        print(f"\n### What the passes of {contestant} saved, bytes unzipped\n")
        print(f"| pass | {' | '.join(row.corpus for row in ours)} |")
        print(f"| --- |{' ---: |' * len(ours)}")
        for name in names:
            print(f"| {name} | {' | '.join(f'{row.saved.get(name, 0):,}' for row in ours)} |")


def sums(rows: list[Row]) -> None:
    """Print the sums over the corpora of which every contestant has a package."""
    print("\n### All corpora\n")
    print("| contestant | packages | that work | unzipped | zipped | to the recipe, of the same |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for contestant in dict.fromkeys(row.contestant for row in rows):
        made = [row for row in rows if row.contestant == contestant and row.zipped is not None]
        corpus = {row.corpus for row in made}
        base = [row for row in rows if row.contestant == RECIPE and row.corpus in corpus]
        total, other = summed(contestant, made), summed(RECIPE, base)
        working = sum(row.working for row in made)
        ratio = ratios(total, other) if made else ""
        print(
            f"| {contestant} | {len(made)} | {working} | {total.unzipped:,} | {total.zipped:,} "
            f"| {ratio} |"
        )


def summed(contestant: str, rows: list[Row]) -> Row:
    """Return a row with the sums of others."""
    unzipped = sum(row.unzipped or 0 for row in rows)
    zipped = sum(row.zipped or 0 for row in rows)
    return Row("all", contestant, unzipped, zipped, "")


if __name__ == "__main__":
    main()
