"""What one source shows of code that needs sources, docstrings, stubs or parts of the metadata.

Signs are names and literals, no proof: `lambdaslim.hazards` decides what follows from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from lambdaslim.tokens import CLOSING, NAME, NEWLINE, OPENING, STRING, decoded, tokens

# Names that mean that somebody's source is read, called or not; the others lead to where it is.
_READS_GIVEN = {
    *("getsource", "getsourcelines", "findsource", "getcomments", "getblock", "code_context"),
    "linecache",
}
_READS_SOURCE = _READS_GIVEN | {
    *("getsourcefile", "getfile", "getabsfile", "co_filename", "extract_stack"),
}
# What is done to a `__file__` by code that counts on how it ends.
_CUTS = {"replace", "endswith", "split", "rsplit", "strip", "rstrip", "removesuffix", "rpartition"}
# Opens, lists, or asks for files.
_READS_FILES = {
    *("open", "read_text", "read_bytes", "get_data", "exec", "execfile", "getline", "getlines"),
    *("listdir", "scandir", "iterdir", "walk", "glob", "iglob", "rglob"),
    *("exists", "isfile", "is_file", "run_path", "spec_from_file_location", "load_source"),
    *("SourceFileLoader", "FileFinder", "loadTestsFromModule"),
}
_OPENS = {"open", "read_text", "read_bytes", "getlines", "run_path"}
# Where the code itself lies.
_ANCHORS = {"__file__", "__path__"}
_ANCHORED_CALLS = {"get_data", "files", "joinpath", "open_text", "read_text"}
# Attributes by which functions are given to compilers that read the source.
_COMPILERS = {"script": ("jit",), "script_method": ("jit",), "jit": ("triton",)}
_COMPILES = re.compile(r"(?:jit|vectorize|stencil)$")
_DOCUMENTS = {"getdoc", "cleandoc", "docopt"}
# What code asks importlib.metadata and pkg_resources for.
# Names of which a source that asks for metadata has one of each: Parquet files have metadata, too.
_METADATA = {"metadata", "importlib_metadata", "pkg_resources"}
_METADATA_ROOTS = {"importlib", "importlib_metadata", "pkg_resources"}
_LOOKS_UP = {
    *("version", "metadata", "distribution", "distributions", "requires", "files"),
    *("packages_distributions", "get_distribution", "require", "load_entry_point"),
}
_ENTRY_POINTS = {"entry_points", "iter_entry_points"}
_OWN_NAMES = {"__name__", "__package__"}
#: Stands in `Signs.looks_up` for a name that is not written there, and for the module's own.
ANY, OWN = "*", ""
_METADATA_PARTS = {"RECORD", "WHEEL", "INSTALLER", "REQUESTED", "direct_url.json"}
#: Names of directories of tests.
TESTS = frozenset({"tests", "test"})
# Literals that are joined to a path.
_MOST_PARTS = 8
_PLACE = re.compile(r"[\w-]{1,60}(?:/[\w-]{1,60}){0,5}")
# Steps up from a module's own directory, where a number is not written there.
_MOST_STEPS = 3
_STEPS, _BETWEEN_STEPS = {"parent", "dirname"}, {".", "(", "path", "os", "abspath", "resolve", ")"}
_FALSE = {"False", "None"}

# Literals that are names of files of compilers and type checkers: sources, libraries and stubs.
_BUILD_SUFFIX = r"c|cc|cpp|cxx|h|hh|hpp|hxx|cu|cuh|pyx|pxd|pxi|f90|f95|cmake|a|lib|la|pc|pyi"
_BUILD_FILE = re.compile(rf"[\w*./+-]{{0,120}}\.(?:{_BUILD_SUFFIX})")
_MAY_NAME_BUILD_FILE = re.compile(rb"\.(?:" + _BUILD_SUFFIX.encode() + rb")['\"]")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|%\(\w+\)[sdr]|%[sdr]")
# Names of sources within a literal, as in "python job.py".
_SOURCE_NAMES = re.compile(r"(?<![\w*./?-])[\w*./?-]{0,120}\.py(?![\w.]|://)")
_ANY_STEM = re.compile(r"[*.?]*|__init__|__main__")
# Parts of regular expressions that stand for themselves here.
_REGULAR = re.compile(r"\\(?=\.)|\$$|\((?:\?:)?[^()]*\)[*+?]?|\[[^]]*\][*+?]?|\.[*+]|\\w[*+]")

# Bytes of which a source that shows a sign holds one of each group; a look at them is much cheaper
# than its tokens.
_TRIGGERS: tuple[tuple[tuple[bytes, ...], ...], ...] = (
    ((b"getsource", b"findsource", b"getcomments", b"getblock", b"get_source", b"linecache"),),
    ((b"code_context", b"extract_stack", b"getfile", b"getabsfile", b"co_filename"),),
    ((b"use_attribute_docstrings", b"attach_stub"),),
    ((b"get_include",),),
    ((b"__file__",), (b"open(__file__", b"Path(__file__", *(b"." + x.encode() for x in _CUTS))),
    ((b"__file__[",),),
    ((b".py'", b'.py"', b".py ", b".py$", b"'py'", b'"py"'),),
    (
        (b"cache",),
        (b"numba", b"jit", b"vectorize", b"stencil"),
        (b"cache=", b"cache =", b"cache'", b'cache"'),
    ),
    ((b"jit.script", b"triton.jit"),),
    (
        (b"__file__", b"__path__", b"importlib", b"pkgutil"),
        (b"tests", b"test'", b'test"', b"test/"),
    ),
    ((b"importlib", b"pkg_resources"), (b"metadata", b"pkg_resources")),
)
# A function that is given a place of code matters only where such functions are.
_HANDS_OVER = (b"__file__", b"__path__")


@dataclass(frozen=True, slots=True)
class Signs:
    """What a source shows.

    Attributes:
        reads_source: names by which sources are read, like "getsource"; "open(__file__)".
        reads_given: it reads the source of what it is given, not of files that it names.
        climbs: how many directories it may go up from its own place.
        places: its literals that may name directories, if it composes names of sources.
        file_names: globs of `.py` files that literals name, like "config-*.py".
        composes: it makes or matches names of sources of which only the suffix is known.
        anchored: it knows where it lies itself.
        reads_files: it opens, lists or asks for files.
        defines: names of its functions.
        hands_over: names of functions that it gives its place to.
        caches_compiled: it asks a compiler such as numba to cache what it makes of functions.
        documents_attributes: it lets pydantic read the docstrings of attributes from the source.
        reads_stub: it lets lazy_loader read its `.pyi`.
        build_files: globs of files of compilers and type checkers that literals name, "src/*.c".
        asks_for_headers: it asks a distribution where its headers are.
        below_tests: paths below a directory of tests, like ("tests", "data"), that it names.
        metadata_parts: files of a `*.dist-info` that it reads besides the usual ones.
        looks_up: names of distributions whose metadata it asks for; `OWN` is that of its own one,
            `ANY` stands for names that are not written there.
        entry_points: groups of entry points that it asks for, `ANY` if they are not written there.
    """

    reads_source: tuple[str, ...] = ()
    reads_given: bool = False
    climbs: int = 0
    places: frozenset[str] = frozenset()
    file_names: frozenset[str] = frozenset()
    composes: bool = False
    anchored: bool = False
    reads_files: bool = False
    defines: frozenset[str] = frozenset()
    hands_over: frozenset[str] = frozenset()
    caches_compiled: bool = False
    documents_attributes: bool = False
    reads_stub: bool = False
    build_files: frozenset[str] = frozenset()
    asks_for_headers: bool = False
    below_tests: frozenset[tuple[str, ...]] = frozenset()
    metadata_parts: frozenset[str] = frozenset()
    looks_up: frozenset[str] = frozenset()
    entry_points: frozenset[str] = frozenset()


NONE = Signs()


def read_signs(data: bytes) -> Signs:
    """Return the signs in a source; most sources show none, which is found out quickly."""
    return _Reading(decoded(data)).signs() if _may_show(data) else NONE


def _may_show(data: bytes) -> bool:
    if any(all(any(one in data for one in group) for group in sign) for sign in _TRIGGERS):
        return True
    return _MAY_NAME_BUILD_FILE.search(data) is not None


def hands_over(data: bytes) -> frozenset[str]:
    """Return the names of functions that a source gives its own place to."""
    if not any(trigger in data for trigger in _HANDS_OVER):
        return frozenset()
    return _Reading(decoded(data)).signs().hands_over


def uses_docstrings(data: bytes) -> bool:
    """Tell whether a source does more with docstrings than to have and to copy them."""
    if b"__doc__" not in data and not any(name.encode() in data for name in _DOCUMENTS):
        return False
    found = [text for _, text in tokens(decoded(data))]
    for place, text in enumerate(found):
        if text in _DOCUMENTS and found[place + 1 : place + 2] == ["("]:
            return True
        if text == "__doc__" and not _only_copied(found, place):
            return True
    return False


def _only_copied(found: list[str], place: int) -> bool:
    """Tell whether a `__doc__` is assigned to, or assigned as it is."""
    after = found[place + 1] if place + 1 < len(found) else "\n"
    if after == "=" and found[place + 2 : place + 3] != ["="]:
        return True
    start = place
    while start >= 2 and found[start - 1] == ".":  # noqa: PLR2004 - a dot and a name
        start -= 2
    return after in ("\n", "\r\n") and start > 0 and found[start - 1] == "="


class _Reading:
    """Walks once through the tokens of a source."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found = tokens(text)
        self.names = {token for kind, token in self.found if kind == NAME}
        self.asks_for_metadata = all(self.names & some for some in (_METADATA, _METADATA_ROOTS))
        self.reads_source: list[str] = []
        self.climbs = 0
        self.places: set[str] = set()
        self.file_names: set[str] = set()
        self.composes = False
        self.hands_over: set[str] = set()
        self.build_files: set[str] = set()
        self.caches = False
        self.documents = False
        self.below_tests: set[tuple[str, ...]] = set()
        self.metadata_parts: set[str] = set()
        self.looks_up: set[str] = set()
        self.entry_points: set[str] = set()
        # The function of each open bracket, "" for brackets that are no call.
        self.calls: list[str] = []

    def signs(self) -> Signs:
        for place, (kind, text) in enumerate(self.found):
            if kind == STRING:
                self._string(place, text)
            elif kind == NAME:
                self._name(place, text)
            elif text in OPENING:
                called = text == "(" and place > 0 and self.found[place - 1][0] == NAME
                self.calls.append(self.found[place - 1][1] if called else "")
            elif text in CLOSING and self.calls:
                self.calls.pop()
        functions = set(self._called)
        if "metadata" in self.names and "get_payload" in functions:
            self.metadata_parts.add("METADATA")
        return Signs(
            reads_source=tuple(dict.fromkeys(self.reads_source)),
            reads_given=not _READS_GIVEN.isdisjoint(self.reads_source),
            climbs=self._climbed(),
            places=frozenset(self.places) if self.composes else frozenset(),
            file_names=frozenset(self.file_names),
            composes=self.composes,
            anchored=bool(self.names & _ANCHORS) or bool(functions & _ANCHORED_CALLS),
            reads_files=bool(functions & _READS_FILES),
            defines=frozenset(self._defined()),
            hands_over=frozenset(self.hands_over) - {""},
            caches_compiled=self.caches,
            documents_attributes=self.documents,
            reads_stub="attach_stub" in functions,
            build_files=frozenset(self.build_files),
            asks_for_headers="get_include" in functions,
            below_tests=frozenset(self.below_tests),
            metadata_parts=frozenset(self.metadata_parts),
            looks_up=frozenset(self.looks_up),
            entry_points=frozenset(self.entry_points),
        )

    def _text(self, place: int) -> str:
        return self.found[place][1] if 0 <= place < len(self.found) else ""

    @cached_property
    def _called(self) -> tuple[str, ...]:
        """The names before brackets: functions that are called, or defined."""
        pairs = pairwise(self.found)
        return tuple(text for (kind, text), (_, after) in pairs if kind == NAME and after == "(")

    def _defined(self) -> Iterator[str]:
        for (_, text), (kind, after) in pairwise(self.found):
            if text in ("def", "class") and kind == NAME:
                yield after

    def _name(self, place: int, text: str) -> None:
        asked = text == "get_source" and self._text(place - 1) == "."
        if asked or (text in _READS_SOURCE and text != "linecache"):
            if self._text(place - 1) != "def":
                self.reads_source.append(text)
        elif text in ("getline", "getlines") and "linecache" in self.names:
            self.reads_source.append("linecache")
        elif text == "__file__":
            self.hands_over.update(self.calls)
            if self._opened(place):
                self.reads_source.append("open(__file__)")
            elif self._cut(place):
                self.reads_source.append("a part of __file__")
        elif text == "__path__":
            self.hands_over.update(self.calls)
        elif text in ("cache", "use_attribute_docstrings"):
            self._option(text, self._text(place + 1) == "=", place)
        elif text in _COMPILERS and self._text(place - 2) in _COMPILERS[text]:
            self.reads_source.append(f"{self._text(place - 2)}.{text}")
        else:
            self._name_of_metadata(place, text)

    def _name_of_metadata(self, place: int, text: str) -> None:
        if not self.asks_for_metadata:
            return
        if text == "files" and self._text(place - 1) == "." and self._text(place + 1) != "(":
            self.metadata_parts.add("RECORD")
        elif self._text(place + 1) == "(":
            self._metadata(text, place + 2)

    def _metadata(self, function: str, argument: int) -> None:
        """Note what is asked of importlib.metadata or pkg_resources, at its first argument."""
        if function in _ENTRY_POINTS:
            if self._text(argument) == "group":
                argument += 2
            self.entry_points.add(self._literal(argument))
        elif function in _LOOKS_UP:
            own = self._text(argument) in _OWN_NAMES
            self.looks_up.add(OWN if own else self._literal(argument))
            if function == "files" and self._text(argument - 3) == ".":
                self.metadata_parts.add("RECORD")

    def _literal(self, place: int) -> str:
        """Return the text of a string that is a whole argument, else `ANY`."""
        kind, literal = self.found[place] if place < len(self.found) else ("", "")
        whole = kind == STRING and self._text(place + 1) in (")", ",")
        return (_pattern(literal) if whole else "") or ANY

    def _opened(self, place: int) -> bool:
        """Tell whether a `__file__` is opened as it is: open(__file__), Path(__file__).open()."""
        if self._text(place - 1) != "(" or self._text(place + 1) not in (")", ","):
            return False
        if self._text(place - 2) in _OPENS:
            return True
        return self._text(place - 2) == "Path" and self._text(place + 3) in _OPENS

    def _cut(self, place: int) -> bool:
        """Tell whether a part of a `__file__`, or of its last part, is cut off or compared."""
        after = place + (2 if self._text(place + 1) == ")" else 1)
        if self._text(place + 1) == "[":
            return True
        return self._text(after) == "." and self._text(after + 1) in _CUTS

    def _climbed(self) -> int:
        """Return the most steps up that any one expression may take."""
        most = run = 0
        for place, (_, text) in enumerate(self.found):
            if text in _STEPS:
                run += 1
                most = max(most, run)
            elif text == "parents" and self._text(place + 1) == "[":
                run = _MOST_STEPS
                most = max(most, run)
            elif run and text not in _BETWEEN_STEPS:
                run = 0
        return max(most, self.climbs)

    def _option(self, name: str, given: bool, place: int) -> None:  # noqa: FBT001 - one caller each
        if not given or self._text(place + 2) in _FALSE:
            return
        if name == "use_attribute_docstrings":
            self.documents = True
        elif "numba" in self.names or any(map(_COMPILES.search, (*self.calls, *self._called))):
            self.caches = self.caches or (self._text(place + 2) != "" and bool(self.calls))

    def _string(self, place: int, literal: str) -> None:
        alone = place == 0 or self.found[place - 1][0] == NEWLINE
        if alone and self._text(place + 1) in ("", "\n", "\r\n", "\r"):  # a docstring
            return
        text = _pattern(literal)
        if _PLACE.fullmatch(text):
            self.places.add(text)
        if _BUILD_FILE.fullmatch(text):
            self.build_files.add(text.lstrip("./") if text.strip("*./").find(".") > 0 else text)
        if text in ("cache", "use_attribute_docstrings"):
            self._option(text, self._text(place + 1) == ":", place)
        elif ".py" in text or text == "py":
            self._source_names(place, text)
        elif text == "Description" and self.asks_for_metadata:
            self.metadata_parts.add("METADATA")
        elif text in _METADATA_PARTS and "read_text" in self.calls:
            self.metadata_parts.add(text)
        elif any(part in TESTS for part in text.split("/")):
            self._tests(place, text)

    def _source_names(self, place: int, text: str) -> None:
        self.climbs = max(self.climbs, text.split("/").count("..") + 1)
        if text == "py":  # compared with what follows the last dot
            self.composes |= self._text(place - 1) == "=" and self._text(place - 2) in "=!"
            return
        plain = _REGULAR.sub(_as_glob, text) if "\\." in text else text
        for found in _SOURCE_NAMES.findall(plain):
            self._source_name(found.lstrip("/"))

    def _source_name(self, text: str) -> None:
        directory, _, name = text.rpartition("/")
        stem = name.removesuffix(".py")
        known = not _ANY_STEM.fullmatch(stem)
        # "../__init__.py" is a name too: it says where.
        if known or (directory and stem.isidentifier() and "*" not in directory):
            self.file_names.add(text)
        else:
            self.composes = True

    def _tests(self, place: int, text: str) -> None:
        """Note a path below tests, of one literal or of literals that are joined."""
        parts = [part for part in text.split("/") if part]
        parts = parts[next(n for n, part in enumerate(parts) if part in TESTS) :]
        for _ in range(_MOST_PARTS):
            if self._text(place + 1) not in (",", "/") or place + 2 >= len(self.found):
                break
            kind, literal = self.found[place + 2]
            if kind != STRING:
                break
            parts += [part for part in _pattern(literal).split("/") if part]
            place += 2
        if len(parts) > 1:
            self.below_tests.add(tuple(parts))


def _as_glob(match: re.Match[str]) -> str:
    """Return what stands in a glob for a part of a regular expression."""
    return "" if match[0] in ("\\", "$") else "*"


def _pattern(literal: str) -> str:
    """Return the text of a string literal as a glob: what is filled in becomes `*`."""
    body = literal.lstrip("bBfFrRtTuU")
    size = 3 if body[:3] in ('"""', "'''") else 1
    return _PLACEHOLDER.sub("*", body[size:-size])
