"""Findings: what a check or a pass noticed, under codes that stay the same between releases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from lambdaslim.errors import UsageError


class Severity(StrEnum):
    """How much a finding matters: an error makes the command exit 1, the others inform."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a code means: its severity and one sentence for the reference page."""

    severity: Severity
    meaning: str


_INFO, _WARNING, _ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR

#: Every code that lambdaslim can emit. Codes are never renamed or reused.
KINDS: dict[str, Kind] = {
    "limit-unzipped": Kind(_ERROR, "The unzipped package is not under Lambda's limit."),
    "limit-combined": Kind(_ERROR, "The unzipped package and its layers exceed Lambda's limit."),
    "limit-zipped": Kind(_ERROR, "The zip is not under the limit of a direct upload."),
    "limit-layer-count": Kind(_ERROR, "More layers than a function can have."),
    "name-case-clash": Kind(_WARNING, "Paths that differ only in case or Unicode normalisation."),
    "name-reserved": Kind(_WARNING, "A name that Windows cannot extract."),
    "name-too-long": Kind(_ERROR, "A name that Lambda's file system cannot hold."),
    "pattern-unused": Kind(_WARNING, "A pattern, service or locale matched nothing."),
    "metadata-absent": Kind(_WARNING, "No distribution metadata, so no file has a known owner."),
    "metadata-malformed": Kind(_WARNING, "Metadata of a distribution cannot be read."),
    "metadata-outside": Kind(_INFO, "A RECORD names files outside the tree; they are ignored."),
    "provided-replaces": Kind(_INFO, "The runtime's version of a distribution replaces yours."),
    "provided-unknown": Kind(_WARNING, "A version that nobody recorded replaces yours."),
    "provided-older": Kind(_WARNING, "The runtime's version replaces a newer one of yours."),
    "provided-unmet": Kind(_WARNING, "A requirement is not met by the runtime's version."),
    "editable-leftover": Kind(_WARNING, "A .pth file names a directory of the build machine."),
    "bytecode-no-interpreter": Kind(_WARNING, "No interpreter of the target; sources were kept."),
    "bytecode-required": Kind(_ERROR, "Sources have no bytecode, and it was required."),
    "bytecode-does-not-compile": Kind(_INFO, "A source does not compile; it was kept."),
    "verification-failed": Kind(_ERROR, "What worked before slimming does not work after it."),
    "bytecode-crashed": Kind(_WARNING, "The compiler crashed or hung; the source was kept."),
    "bytecode-foreign": Kind(_WARNING, "Bytecode that the target cannot import."),
    "elf-holes": Kind(_INFO, "Native files with bytes that hold nothing and cannot be cut out."),
    "elf-duplicate-library": Kind(_INFO, "Native files that are there more than once."),
    "compat-platform": Kind(_ERROR, "Native files for macOS or Windows."),
    "compat-machine": Kind(_ERROR, "Native files for another architecture."),
    "compat-musl": Kind(_ERROR, "Native files for musl, which Lambda does not have."),
    "compat-python": Kind(_ERROR, "Extension modules for another Python."),
    "compat-glibc": Kind(_ERROR, "Native files that need a newer glibc than the runtime's."),
    "compat-library-missing": Kind(_ERROR, "A library is needed that the runtime lacks."),
    "compat-library-unknown": Kind(_WARNING, "A library is needed that may be missing."),
    "compat-malformed": Kind(_WARNING, "A native file whose bytes cannot be read."),
    "compat-foreign": Kind(_WARNING, "Files for another system that nothing seems to load."),
    "compat-spare": Kind(_INFO, "Extension modules that others in the same place replace."),
    "compat-fallback": Kind(_WARNING, "Compiled modules are missing; slower code replaces them."),
    "compat-placeholder": Kind(_ERROR, "A required distribution is empty."),
    "compat-requirement-missing": Kind(_WARNING, "A required distribution is not there."),
    "compat-requirement-unmet": Kind(_WARNING, "A requirement is not met by what is there."),
}


def demand_known(codes: Iterable[str]) -> frozenset[str]:
    """Return codes as a set; raise `UsageError`, which names the nearest, for one of none."""
    given = frozenset(codes)
    for code in sorted(given - set(KINDS)):
        near = get_close_matches(code, KINDS, n=1, cutoff=0)
        fix = f"did you mean {near[0]}? docs/reference/findings.md lists all"
        raise UsageError("is not the code of a finding", where=code, fix=fix)
    return given


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing noticed: a stable `code`, a sentence, and the path it concerns.

    Codes are those of `KINDS`; a pass of your own may use others, which count as warnings.
    """

    code: str
    message: str
    path: str | None = None

    @property
    def severity(self) -> Severity:
        """The severity that `KINDS` gives the code."""
        return KINDS[self.code].severity if self.code in KINDS else Severity.WARNING
