"""Files that compilers and type checkers read, and the code of a tree that reads them as well.

Lambda has no compiler, no linker and no type checker. What may still need such a file is a package
that brings a compiler along, and code that opens the file itself, such as a generator of code with
its templates.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from posixpath import basename, dirname

from lambdaslim.signs import Signs
from lambdaslim.tree import Entry, Tree

#: Suffixes of stubs for type checkers.
STUBS = (".pyi",)
_C = (".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".hxx", ".cu", ".cuh")
# Cython, and the templates that builds make it of, by Tempita's and Meson's way to name them.
_CYTHON = (".pyx", ".pxd", ".pxi", ".pyx.tp", ".pxd.tp", ".pxi.tp", ".pyx.in", ".pxd.in", ".pxi.in")
#: Suffixes of sources that compilers read, which no other kind of file has.
NATIVE = (*_C, *_CYTHON, ".c.src", ".h.src", ".f90", ".f95", ".cmake")
#: Suffixes that other kinds of files have too, with what is at the start of a linker's input.
LINKED = {
    ".a": re.compile(rb"!<(?:arch|thin)>\n"),
    ".lib": re.compile(rb"!<arch>\n"),
    ".la": re.compile(rb"# [^\n]{0,200}\blibtool\b"),
    ".pc": re.compile(rb"(?s).{0,4000}^(?:Name|Libs|Cflags)[ \t]*:", re.MULTILINE),
}
# Programs and libraries that compile C, C++ or CUDA where they run: LLVM's clang and cling,
# NVIDIA's compiler at run time, zig, TinyCC, GCC, and PoCL, which compiles OpenCL. Their names are
# all that is looked at: what has one may need any header. Files like .clang-format only configure.
_COMPILER = re.compile(
    r"(?!\.)(?:.*[-_.])?(?:lib)?(?:clang(?!-format|-tidy)|cling|clangInterpreter|nvrtc|nvcc|ptxas|zig|tcc|gcc|g\+\+|cc1|pocl)"
    r"(?:[-+.\d].*)?"
)
_NO_PROGRAMS = (*_C, *_CYTHON, *STUBS, ".py", ".pyc", ".txt", ".md", ".rst", ".json", ".toml")

# A file, the source that needs it, and why.
_Named = tuple[str, str, str]


def may_be_native(path: str) -> bool:
    """Tell by the name whether a file may be a source or library that only compilers read."""
    return path.endswith((*NATIVE, *LINKED))


def is_native(entry: Entry) -> bool:
    """Tell whether a file is one, by its start where other kinds of files have its suffix."""
    if entry.path.endswith(NATIVE):
        return True
    start = next((one for suffix, one in LINKED.items() if entry.path.endswith(suffix)), None)
    return start is not None and start.match(entry.read()) is not None


class BuildInputs:
    """Which of these files must stay, and which sources are the reason."""

    def __init__(
        self, tree: Tree, signs: Mapping[str, Signs], group: Callable[[str], str | None]
    ) -> None:
        """Prepare to look at `tree`.

        Args:
            tree: the files.
            signs: what each Python source shows.
            group: names the distribution that a path belongs to, None for the user's own code.
        """
        self._tree = tree
        self._signs = signs
        self._group = group
        self._files = [path for path in tree if path.endswith(STUBS) or may_be_native(path)]

    @cached_property
    def needs(self) -> Mapping[str, str]:
        """The files that must stay, with the reason."""
        found = {path: why for path, _, why in self._named}
        if self._files and (compiler := self._compiler()):
            found |= {p: f"{compiler} may compile it" for p in self._files if may_be_native(p)}
        return found

    @cached_property
    def readers(self) -> Mapping[str, str]:
        """The Python sources that files must stay for, with the reason."""
        return {reader: f"it looks for {basename(path)}" for path, reader, _ in self._named}

    @cached_property
    def _named(self) -> tuple[_Named, ...]:
        return tuple(self._by_code()) if self._files else ()

    def _by_code(self) -> Iterator[_Named]:
        for path, signs in self._signs.items():
            if signs.reads_stub and f"{path}i" in self._tree:
                yield f"{path}i", path, f"{path} calls attach_stub"
            if signs.asks_for_headers and self._group(path) is None:
                why = f"{path} asks where headers are"
                yield from ((one, path, why) for one in self._files if may_be_native(one))
            if signs.build_files and (signs.anchored or signs.reads_files):
                for name in sorted(signs.build_files):
                    found = self._matching(name, path, signs)
                    yield from ((one, path, f"{path} names {name}") for one in found)

    def _matching(self, name: str, path: str, signs: Signs) -> Iterator[str]:
        """Yield the files that a name in a source may mean, a glob of parts like "src/*.c".

        Of a name of which only the suffix is known, that is what lies below a directory that the
        source knows: its own, or as many above it as it climbs.
        """
        if "*" in name and name.endswith(tuple(LINKED)):  # how linkers are told what to look for
            return
        top = ""
        if not basename(name).rpartition(".")[0].strip("*_-."):
            if not (signs.anchored and signs.reads_files):
                return
            name = f"{dirname(name)}/*.{name.rpartition('.')[2]}".lstrip("/")
            top = dirname(path)
            for _ in range(signs.climbs - 1):
                top = dirname(top) or top
        for one in self._near(path):
            below = not top or one.startswith(f"{top}/")
            if below and fnmatch.fnmatchcase(f"/{one}", f"*/{name}"):
                yield one

    def _near(self, path: str) -> Iterable[str]:
        """Return the files of the distribution of a source; of all if it is the user's."""
        group = self._group(path)
        if group is None:
            return self._files
        return self._by_group.get(group, ())

    @cached_property
    def _by_group(self) -> Mapping[str | None, list[str]]:
        found: dict[str | None, list[str]] = {}
        for path in self._files:
            found.setdefault(self._group(path), []).append(path)
        return found

    def _compiler(self) -> str | None:
        """Return the path of a compiler that is in the tree."""
        for path in self._tree:
            name = basename(path)
            if _COMPILER.fullmatch(name) and not name.endswith(_NO_PROGRAMS):
                return path
        return None
