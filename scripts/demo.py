#!/usr/bin/env python3
"""Vendor rasterio[s3], pack it with examples/tiler, run the packed handler, print what was saved.

Usage: demo.py [--markdown-only]

Everything is made anew in .demo/. Needs lambdaslim installed and a package index; on systems other
than Linux the packed handler cannot be invoked, and the script says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLE = REPOSITORY / "examples" / "tiler"
WORK = REPOSITORY / ".demo"
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
ARCHITECTURE = {"aarch64": "arm64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
# What lies beside the handler but has no business in its package.
LEFT_OUT = ("README.md", "event.json", "requirements.txt")

# AWS's limits, in bytes.
MOST_UNZIPPED = 262_144_000
MOST_ZIPPED = 52_428_800

# Run in an interpreter that sees the standard library and the package, and nothing else.
INVOKE = """
import base64, json, sys
package, event = sys.argv[1:]
sys.path.insert(0, package)
import app
answer = app.handler(json.loads(event), None)
image = base64.b64decode(answer["body"]) if answer["isBase64Encoded"] else b""
print(json.dumps([answer["statusCode"], len(image), image[1:4].decode("ascii"), app.__file__]))
"""


@dataclass(frozen=True)
class Weight:
    """What a directory weighs: files, their bytes, and the bytes of a zip of them."""

    files: int
    unzipped: int
    zipped: int


def main() -> None:
    """Do it all; print progress and the tool's report unless only the table is wanted."""
    arguments = argparse.ArgumentParser(description="Vendor, pack and invoke examples/tiler.")
    arguments.add_argument("--markdown-only", action="store_true", help="print only the table")
    quiet = arguments.parse_args().markdown_only
    vendored, archive, package = WORK / "vendored", WORK / "demo.zip", WORK / "task"
    for stale in (vendored, package):
        shutil.rmtree(stale, ignore_errors=True)
    archive.unlink(missing_ok=True)
    WORK.mkdir(exist_ok=True)

    vendor(vendored, quiet=quiet)
    pack(vendored, archive, quiet=quiet)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(package)
    if not quiet:
        print("\n" + invoke(package) + "\n")
    print(table(plain_weight(vendored), packed_weight(archive)))


def vendor(into: Path, *, quiet: bool) -> None:
    """Fill a directory with the example's requirements."""
    run("vendor", "rasterio[s3]", *target(), "--into", str(into), quiet=quiet)


def pack(vendored: Path, archive: Path, *, quiet: bool) -> None:
    """Pack the vendored directory together with the example's handler."""
    # Too large for a direct upload is not too large for Lambda; the table tells.
    options = ["--upload=s3", "--compare", *(f"--drop=/{name}" for name in LEFT_OUT)]
    run("pack", str(vendored), str(EXAMPLE), "-o", str(archive), *target(), *options, quiet=quiet)


def target() -> list[str]:
    """Return the options that name the runtime of the running interpreter."""
    return ["--runtime", RUNTIME, "--arch", ARCHITECTURE]


def run(*arguments: str, quiet: bool) -> None:
    """Run lambdaslim; its standard output is the report."""
    if not quiet:
        print("$ lambdaslim", *(shorter(argument) for argument in arguments), flush=True)
    output = subprocess.DEVNULL if quiet else None
    done = subprocess.run(
        [sys.executable, "-m", "lambdaslim", *arguments], stdout=output, check=False
    )
    if done.returncode:
        sys.exit(f"demo: lambdaslim {arguments[0]} failed with {done.returncode}")


def shorter(argument: str) -> str:
    """Return a path relative to the repository, so that the transcript is the same everywhere."""
    return argument.replace(f"{REPOSITORY}{os.sep}", "")


def invoke(package: Path) -> str:
    """Run the handler of the unzipped package, and say what it answered."""
    if sys.platform != "linux":
        return f"The packages are for Linux, this is {sys.platform}: the invocation is skipped."
    event = (EXAMPLE / "event.json").read_text(encoding="utf-8").strip()
    # Elsewhere, so that nothing is found through the place where it was packed.
    with tempfile.TemporaryDirectory() as scratch:
        moved = Path(scratch) / "task"
        shutil.copytree(package, moved)
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-B", "-c", INVOKE, str(moved), event],
            env={"PATH": "/usr/bin:/bin", "HOME": scratch, "LANG": "C.UTF-8"},
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.exit(f"demo: the packed handler failed:\n{done.stderr}")
    status, size, kind, file = json.loads(done.stdout)
    if (status, kind) != (200, "PNG"):
        sys.exit(f"demo: the packed handler answered {status}, {kind}")
    return f"{Path(file).name} answered {event} with {status} and a PNG of {size:,} bytes."


def plain_weight(vendored: Path) -> Weight:
    """Weigh what would be deployed without lambdaslim: everything vendored, zipped at level 9."""
    paths = {path.relative_to(vendored): path for path in vendored.rglob("*") if path.is_file()}
    paths |= {path.relative_to(EXAMPLE): path for path in EXAMPLE.glob("*.py")}
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name in sorted(paths):
                archive.write(paths[name], name)
        zipped = file.tell()
    return Weight(len(paths), sum(path.stat().st_size for path in paths.values()), zipped)


def packed_weight(archive: Path) -> Weight:
    """Weigh lambdaslim's zip."""
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
    return Weight(len(members), sum(m.file_size for m in members), archive.stat().st_size)


def table(before: Weight, after: Weight) -> str:
    """Return both weights and what they leave of AWS's limits, as a Markdown table."""
    subject = f"rasterio[s3], {RUNTIME}, {ARCHITECTURE}"
    rows = [
        ("files", before.files, after.files),
        ("bytes unzipped", before.unzipped, after.unzipped),
        ("bytes zipped", before.zipped, after.zipped),
        (
            f"headroom to {MOST_UNZIPPED:,} unzipped",
            MOST_UNZIPPED - before.unzipped,
            MOST_UNZIPPED - after.unzipped,
        ),
        (
            f"headroom to {MOST_ZIPPED:,} zipped",
            MOST_ZIPPED - before.zipped,
            MOST_ZIPPED - after.zipped,
        ),
    ]
    head = f"| {subject} | installed | packed |\n| --- | ---: | ---: |"
    return "\n".join([head, *(f"| {name} | {old:,} | {new:,} |" for name, old, new in rows)])


if __name__ == "__main__":
    main()
