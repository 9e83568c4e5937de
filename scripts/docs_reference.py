#!/usr/bin/env python3
"""Write the reference pages that are data: docs/reference/runtimes.md, findings.md and rules.md.

Usage: docs_reference.py [--check]

With --check nothing is written. Then the pages that people write are compared with the code too:
cli.md with `--help`, api.md with the public names, passes/*.md with the passes and their options.
The exit code is 1 when anything differs. Needs lambdaslim installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path

import lambdaslim
from lambdaslim import passes, runtimes
from lambdaslim.findings import KINDS
from lambdaslim.knowledge import Knowledge
from lambdaslim.knowledge.prune import PruneRule
from lambdaslim.runtimes import Runtime

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
COMMANDS = ("pack", "slim", "check", "vendor", "passes", "runtimes")
SECTIONS = ("What it takes", "Options", "What can break", "How to refuse it")

VENDOR = (
    "Install what fits with `lambdaslim vendor`. See "
    "[a package for another platform](../how-to/another-platform.md)."
)
# What to do about each finding; the codes, severities and meanings are those of the library.
ADVICE = {
    "limit-unzipped": "Drop what the function does not need. See "
    "[over the limit](../how-to/over-the-limit.md).",
    "limit-combined": "Make the function or one of its layers smaller. See "
    "[layers](../how-to/layers.md).",
    "limit-zipped": "Upload through S3 and pass `--upload s3`, or make the package smaller.",
    "limit-layer-count": "Merge layers, or put one of them into the function.",
    "name-case-clash": "Nothing, if only Linux unpacks the package. Otherwise rename one of them.",
    "name-reserved": "Nothing, if only Linux unpacks the package. Otherwise rename it.",
    "name-too-long": "Shorten the path or drop the file.",
    "pattern-unused": "Correct or remove it.",
    "metadata-absent": "Install with uv or pip. Without metadata, `strip-tests` and "
    "`drop-provided` find nothing to do.",
    "metadata-malformed": "Reinstall the distribution, or report it to its authors.",
    "metadata-outside": "Nothing. Such rows are never acted on.",
    "provided-replaces": "Nothing, if the runtime's version is good enough. To ship your own, "
    "`--skip drop-provided`.",
    "provided-unknown": "Skip `drop-provided`, or test the function with the runtime's version.",
    "provided-older": "Make sure that your code needs nothing newer. To ship your own, "
    "`--skip drop-provided`.",
    "provided-unmet": 'Use `when="compatible"`, or change the requirement.',
    "editable-leftover": "Install the project without `-e`, so that its files are in the package.",
    "bytecode-no-interpreter": "Install that Python, or name one with `--interpreter`. See "
    "[without the target's interpreter](../how-to/without-target-interpreter.md).",
    "bytecode-required": "Install that Python, or name one with `--interpreter`, or ship sources: "
    "leave out `--require-bytecode`.",
    "bytecode-crashed": "Give another `--interpreter`, or more memory. The file stays a source.",
    "bytecode-does-not-compile": "Nothing, if no program imports the file. It stays a source.",
    "verification-failed": "Keep what it needs with `--keep`. See "
    "[verify a package](../how-to/verify.md).",
    "bytecode-foreign": "Reinstall the distribution: the runtime cannot import this file.",
    "elf-holes": 'They stay with `holes="zero"`, and in files that the report lists as kept. See '
    "[native files](../explanation/elf.md).",
    "elf-duplicate-library": "Nothing, or ask the distributions to share it. Each wheel brings its "
    "own libraries.",
    "compat-platform": VENDOR,
    "compat-machine": VENDOR,
    "compat-musl": VENDOR,
    "compat-python": VENDOR,
    "compat-glibc": f"{VENDOR} Or choose a runtime with a newer glibc.",
    "compat-library-missing": "Put the library into the package's directory `lib`, or drop what "
    "needs it. The evidence is in [runtimes](runtimes.md).",
    "compat-library-unknown": "Try the function. If it fails, put the library into the package's "
    "directory `lib`.",
    "compat-malformed": "Install the distribution again.",
    "compat-foreign": "Drop it if nothing loads it.",
    "compat-spare": "Drop it, to save its bytes.",
    "compat-fallback": f"Nothing, if it is fast enough. {VENDOR}",
    "compat-placeholder": VENDOR,
    "compat-requirement-missing": "Install it too, unless it was left out on purpose.",
    "compat-requirement-unmet": "Install both distributions in one step.",
}
WRITTEN_BY = "<!-- Written by scripts/docs_reference.py; do not edit. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a Markdown table."""
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"


def page(title: str, *parts: Iterable[str]) -> str:
    """Return a page of parts separated by blank lines."""
    bodies = ["\n".join(part) for part in parts]
    return "\n\n".join([f"# {title}", WRITTEN_BY, *bodies]) + "\n"


def findings_page() -> str:
    """Return the page of finding codes."""
    if wrong := set(KINDS) ^ set(ADVICE):
        sys.exit(f"docs_reference.py: ADVICE and findings.KINDS differ in {sorted(wrong)}")
    rows = (
        (f"`{code}`", kind.severity.value, kind.meaning, ADVICE[code])
        for code, kind in KINDS.items()
    )
    intro = (
        "A finding is something that a pass or a check noticed. Its code stays the same between",
        "releases. An `error` makes the command exit 1 and keeps the output unwritten, but",
        "for what [compatibility](../explanation/compatibility.md) says of newer systems.",
        "A `warning` does so only with `--strict`. An `info` never does. `--allow-oversize` lets",
        "the four `limit-` codes pass: the package is written, and the exit code is still 1.",
        "`--allow CODE` lets one code pass: it is reported, and does not count.",
    )
    return page("Findings", intro, table(("code", "severity", "meaning", "what to do"), rows))


def rules_page() -> str:
    """Return the page of bundled rules."""
    rows = (
        (
            rule.distribution,
            str(rule.versions) or "all",
            ", ".join(f"`{line}`" for line in rule.paths.lines),
            ", ".join(f"`{name}`" for name in rule.passes),
            rule.reason,
            f"[link]({rule.evidence})",
            ", ".join(rule.checked),
        )
        for rule in Knowledge.bundled().keep
    )
    intro = (
        "These rules ship with lambdaslim. A pass that a rule names leaves the rule's paths alone.",
        "[knowledge.md](knowledge.md) describes the format.",
    )
    head = ("distribution", "versions", "paths", "passes", "reason", "evidence", "tried with")
    return page("Rules", intro, table(head, rows), *binary_part(), *prune_part(), *choice_part())


def binary_part() -> Iterator[Iterable[str]]:
    """Yield the paragraphs about bundled binary-rules."""
    yield (
        "These distributions are published as compiled wheels and as pure ones. One without any",
        "of the paths is the finding `compat-fallback`.",
    )
    rows = (
        (
            rule.distribution,
            str(rule.versions) or "all",
            ", ".join(f"`{line}`" for line in rule.paths.lines),
            rule.reason,
            f"[link]({rule.evidence})",
            ", ".join(rule.checked),
        )
        for rule in Knowledge.bundled().binary
    )
    yield table(("distribution", "versions", "paths", "without them", "evidence", "seen"), rows)


def prune_part() -> Iterator[Iterable[str]]:
    """Yield the section of prune-rules."""
    yield (
        "## Prune-rules",
        "",
        "These files go, each on its conditions. `unused`: only if code of yours is in the tree.",
    )
    rows = (
        (
            rule.distribution,
            str(rule.versions) or "all",
            ", ".join(f"`{line}`" for line in rule.paths.lines),
            f"`{rule.by}`",
            "; ".join(conditions(rule)),
            rule.reason,
            f"[link]({rule.evidence})",
            ", ".join(rule.checked),
        )
        for rule in Knowledge.bundled().prune
    )
    head = ("distribution", "versions", "paths", "pass", "if", "reason", "evidence", "tried with")
    yield table(head, rows)


def conditions(rule: PruneRule) -> Iterator[str]:
    """Yield the conditions of a prune-rule."""
    yield from ["unused"] if rule.when == "unused" else []
    for words, names in (
        ("nobody names", rule.unless_named),
        ("not installed:", rule.unless_installed),
        ("there:", rule.instead),
    ):
        if names:
            yield f"{words} {', '.join(f'`{name}`' for name in names)}"


def choice_part() -> Iterator[Iterable[str]]:
    """Yield the section of choices."""
    yield (
        "## Choices",
        "",
        "Of these files, those of the services or locales that you use stay.",
    )
    rows = (
        (
            rule.distribution,
            rule.option,
            f"`{rule.key.pattern}`",
            ", ".join(f"`{name}`" for name in sorted(rule.always)),
            ", ".join(f"`{name}`" for name in sorted(rule.calls)),
            rule.reason,
            f"[link]({rule.evidence})",
            ", ".join(rule.checked),
        )
        for rule in Knowledge.bundled().choice
    )
    head = ("distribution", "option", "files", "always", "calls", "what", "evidence", "tried with")
    yield table(head, rows)


def runtimes_page() -> str:
    """Return the page of runtimes and what they provide."""
    known = [runtimes.load(name) for name in runtimes.names()]
    rows = (
        (
            f"`{one.name}`",
            one.operating_system,
            "{}.{}".format(*one.glibc),
            ", ".join(one.architectures),
            str(one.magic),
            one.status,
            one.deprecation or "",
        )
        for one in known
    )
    head = ("runtime", "system", "glibc", "architectures", "magic", "status", "deprecation")
    intro = (
        "AWS changes the runtimes without notice, and not in all regions at once. Every version",
        "below is what somebody observed at the date given, not a promise. An empty version means",
        "that only the presence of the distribution was observed; then it meets no requirement",
        "that names a version.",
    )
    unit = (
        "Only distributions with a unit are ever dropped: those are the ones that AWS documents.",
        "The distributions of one unit are dropped together or not at all.",
    )
    parts = (provided_part(one) for one in known)
    libraries = libraries_part(known)
    return page("Runtimes", intro, table(head, rows), unit, *parts, *libraries)


def libraries_part(known: Sequence[Runtime]) -> Iterator[Iterable[str]]:
    """Yield the section of shared libraries: rows that several runtimes share are one."""
    yield (
        "## Shared libraries",
        "",
        "What somebody found or missed in these systems. The presence of any other library is",
        "unknown. The images of the runtimes hold more than the runtimes themselves.",
    )
    where: dict[tuple[str, bool, str, str], list[str]] = {}
    for one in known:
        for row in one.libraries:
            key = (row.source, row.present, row.observed or "", one.operating_system)
            where.setdefault(key, []).append(f"{row.name}@{one.name}")
    head = ("libraries", "there", "runtimes", "observed", "source")
    yield table(head, (_library_row(key, found) for key, found in where.items()))


def _library_row(key: tuple[str, bool, str, str], found: Sequence[str]) -> tuple[str, ...]:
    source, present, observed, _ = key
    pairs = [one.split("@") for one in found]
    names = ", ".join(f"`{name}`" for name in dict.fromkeys(name for name, _ in pairs))
    runtimes_ = ", ".join(dict.fromkeys(runtime for _, runtime in pairs))
    return names, "yes" if present else "no", runtimes_, observed, source


def provided_part(one: Runtime) -> Iterator[str]:
    """Yield the section of one runtime."""
    yield from (f"## {one.name}", "")
    if one.provided:
        head = ("distribution", "version", "unit", "observed", "confidence", "source")
        yield from table(
            head,
            (
                (
                    r.distribution,
                    r.version or "",
                    r.unit or "",
                    r.observed or "",
                    r.confidence,
                    r.source,
                )
                for r in one.provided
            ),
        )
    else:
        yield "Nobody has recorded what this runtime provides, so nothing is dropped for it."
    if one.notes:
        yield ""
        yield from (f"- {note}" for note in one.notes)


def written_pages() -> Iterator[str]:
    """Yield what is wrong with the pages that people write."""
    yield from cli_problems((REFERENCE / "cli.md").read_text(encoding="utf-8"))
    api = (REFERENCE / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^(?:#+|\|) `(\w+)", api, re.MULTILINE))
    yield from (f"api.md: {n} is missing" for n in sorted(set(lambdaslim.__all__) - named))
    for step in passes.ALL:
        yield from pass_problems(step)
    pages = {path.stem for path in (REFERENCE / "passes").glob("*.md")}
    strays = sorted(pages - {step.name for step in passes.ALL} - {"README"})
    yield from (f"passes/{name}.md: there is no such pass" for name in strays)


def pass_problems(step: type[passes.Pass]) -> Iterator[str]:
    """Yield what the page of a pass lacks."""
    path = REFERENCE / "passes" / f"{step.name}.md"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    yield from (f"{path.name}: no section {s!r}" for s in SECTIONS if f"\n## {s}\n" not in text)
    assert is_dataclass(step)  # noqa: S101 - the contract of a pass
    for option in fields(step):
        if option.init and not option.name.startswith("_") and f"| `{option.name}`" not in text:
            yield f"{path.name}: the option {option.name} is missing"


def cli_problems(text: str) -> Iterator[str]:
    """Yield how the options of each command's section differ from its --help."""
    for command in COMMANDS:
        section = re.search(
            rf"^## lambdaslim {command}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
        )
        documented = set(
            re.findall(r"^\| `[^|]*?(--[a-z-]+)", section[1] if section else "", re.MULTILINE)
        )
        real = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", help_of(command))) - {"--help"}
        for flag in sorted(documented ^ real):
            state = "is missing" if flag in real else "does not exist"
            yield f"cli.md: {flag} of {command} {state}"


def help_of(command: str) -> str:
    """Return what `lambdaslim COMMAND --help` prints."""
    return subprocess.run(
        [sys.executable, "-m", "lambdaslim", command, "--help"],
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def main() -> None:
    """Write the generated pages, or compare all of them with --check."""
    generated = {
        "runtimes.md": runtimes_page(),
        "findings.md": findings_page(),
        "rules.md": rules_page(),
    }
    if "--check" not in sys.argv[1:]:
        for name, text in generated.items():
            (REFERENCE / name).write_text(text, encoding="utf-8")
        return
    problems = [
        f"{name}: stale, run scripts/docs_reference.py"
        for name, text in generated.items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text(encoding="utf-8") != text
    ]
    problems += written_pages()
    if problems:
        sys.exit("\n".join(f"docs/reference/{problem}" for problem in problems))


if __name__ == "__main__":
    main()
