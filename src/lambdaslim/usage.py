"""Who uses what of a tree: the user's code, and the distributions beside what is used.

Often a tree holds no code of the user: it is added later, or lies in another layer. Then that
nobody names something proves nothing, and `Usage.unseen` says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

from lambdaslim import calls, tokens
from lambdaslim.cache import code_version
from lambdaslim.distributions import Distributions
from lambdaslim.knowledge.prune import ChoiceRule
from lambdaslim.readings import Readings, digest_of
from lambdaslim.tree import Tree

_WORD = re.compile(rb"[A-Za-z_]\w*")
_COMPILED = (".pyc", ".so", ".pyd")
# Scripts of installers, and data of a wheel, which are no code of the user.
_BESIDE = re.compile(r"^(?:bin|share|include|etc)/|(?:^|/)__pycache__/|(?:^|/)[^/]+-info/")
# Bytes of a file of the user that may be a configuration; larger ones are data.
_LARGEST = 2_000_000


@dataclass(frozen=True, slots=True)
class Unknown:
    """Why nobody can tell what is used."""

    reason: str


class Usage:
    """Looks at the code of a tree as it is now; files that a distribution owns are not the user's.

    Each look reads what it needs, so ask for all names at once.
    """

    def __init__(self, tree: Tree, distributions: Distributions, readings: Readings) -> None:
        """Prepare to look at `tree`; `readings` remembers what files name."""
        self._tree = tree
        self._distributions = distributions
        self._readings = readings

    @cached_property
    def own(self) -> tuple[str, ...]:
        """The user's own files."""
        owned = self._distributions.owners_of
        return tuple(path for path in self._tree if not owned(path) and not _BESIDE.search(path))

    @cached_property
    def unseen(self) -> str | None:
        """Why the user's code cannot be looked at, None if it can."""
        unrecorded = [one for one in self._distributions.every if not one.recorded]
        if unrecorded:
            return f"no RECORD tells which files are of {unrecorded[0].name}, and which are yours"
        if compiled := [path for path in self.own if path.endswith(_COMPILED)]:
            return f"{compiled[0]} is compiled, and cannot be read"
        if not any(path.endswith(".py") for path in self.own):
            return "no code of yours is in the tree that would show what it uses"
        return None

    def mentions(self, asked: Mapping[str, Collection[str]]) -> Mapping[str, tuple[str, ...]]:
        """Return the files that name each of some dotted names.

        A source names "a.b" if its code has both words, wherever; so does bytecode, where they may
        be parts of others. Other files of the user, `.pth` files and entry points do with any text.
        A native file does by the dotted text, or by each word as a string.

        Args:
            asked: the names, each with the distributions whose own files do not count.
        """
        found: dict[str, list[str]] = {name: [] for name in asked}
        groups: dict[frozenset[str], _Question] = {}
        for path in self._readable() if asked else ():
            owners = frozenset(one.name for one in self._distributions.owners_of(path))
            if owners not in groups:
                names = (name for name, theirs in asked.items() if owners.isdisjoint(theirs))
                groups[owners] = _Question.of(names)
            question = groups[owners]
            by = f"{_code()} {_kind(path)} {question.digest}"
            find = partial(_named, path, names=question.names)
            texts = self._readings.texts
            for name in texts("names", self._tree[path], find, by=by) if question.names else ():
                found[name].append(path)
        return {name: tuple(paths) for name, paths in found.items()}

    def _readable(self) -> Iterator[str]:
        own = frozenset(self.own)
        for path, entry in self._tree.items():
            code = path.endswith((".py", *_COMPILED, ".pth", "/entry_points.txt"))
            text = path in own and entry.size <= _LARGEST
            if (code or text) and "__pycache__/" not in path:
                yield path

    def chosen(self, rule: ChoiceRule, keys: Collection[str]) -> frozenset[str] | Unknown:
        """Return which of `keys` (services) code may use, or why nobody can tell.

        The user's code uses what it hands to the functions of the rule. All words in quotes count
        too, in its sources and in those of distributions that name that of the rule at all.
        """
        if self.unseen is not None:
            return Unknown(self.unseen)
        sources = [path for path in self.own if path.endswith(".py")]
        used: set[str] = set()
        for path in sources:
            data = self._tree[path].read()
            if lists := [name for name in rule.lists if name.encode() in data]:
                return Unknown(f"{path} names {lists[0]}")
            concerned = not rule.modules or any(one.encode() in data for one in rule.modules)
            for name in calls.handed(data, rule.calls, rule.keyword) if concerned else ():
                if name is None:
                    named = " or ".join(sorted(rule.calls))
                    return Unknown(f"{path} calls {named} with a name that is not written there")
                used.add(name)
        if not used:
            return Unknown(f"your code calls none of {', '.join(sorted(rule.calls))}")
        read = {path: calls.literals(self._tree[path].read()) for path in sources}
        for paths in self._beside(rule):
            if compiled := [path for path in paths if path.endswith(".pyc")]:
                return Unknown(f"{compiled[0]} is compiled, and cannot be read")
            read |= {path: calls.literals(self._tree[path].read()) for path in paths}
        return frozenset(used.union(*read.values()).intersection(keys))

    def called(self, rule: ChoiceRule, keys: Collection[str]) -> frozenset[str]:
        """Return which of `keys` other distributions use by calls that name them."""
        found = (
            calls.handed(self._tree[path].read(), rule.calls, rule.keyword)
            for paths in self._beside(rule)
            for path in paths
            if path.endswith(".py")
        )
        return frozenset(name for names in found for name in names if name and name in keys)

    def _beside(self, rule: ChoiceRule) -> Iterator[list[str]]:
        """Yield the code of each distribution that names that of the rule, or one along with it."""
        same = {rule.distribution, *rule.along}
        known = [one.replace("-", "_").encode() for one in (*rule.modules, *sorted(same))]
        for one in self._distributions.every:
            paths = [
                path
                for path in one.files
                if path in self._tree
                and path.endswith((".py", ".pyc"))
                and "__pycache__/" not in path
            ]
            paths += [f"{path}c" for path in one.files if f"{path}c" in self._tree]
            named = (any(name in self._tree[path].read() for name in known) for path in paths)
            if one.name not in same and any(named):
                yield paths


@dataclass(frozen=True, slots=True)
class _Question:
    """Dotted names with their parts, and a digest of them for keys."""

    names: Mapping[str, tuple[bytes, ...]]
    digest: str

    @classmethod
    def of(cls, names: Iterable[str]) -> _Question:
        parts = {name: tuple(part.encode() for part in name.split(".")) for name in names}
        return cls(parts, digest_of(parts))


def _code() -> str:
    return code_version(__file__, str(calls.__file__), str(tokens.__file__))


def _kind(path: str) -> str:
    """Return on what it depends how a file is read: the end of its name."""
    return next((end for end in (".py", *_COMPILED) if path.endswith(end)), "")


def _named(path: str, data: bytes, names: Mapping[str, tuple[bytes, ...]]) -> Iterator[str]:
    near = [
        name
        for name, parts in names.items()
        # The last part is the rarest.
        if parts[-1] in data and all(part in data for part in parts)
    ]
    if not near or path.endswith(".pyc"):
        yield from near
    elif path.endswith((".so", ".pyd")):
        yield from (name for name in near if _in_native(data, name, names[name]))
    else:
        source = path.endswith(".py")
        held = {one.encode() for one in calls.words(data)} if source else set(_WORD.findall(data))
        yield from (name for name in near if held.issuperset(names[name]))


def _in_native(data: bytes, name: str, parts: Iterable[bytes]) -> bool:
    return name.encode() in data or all(b"\0" + part + b"\0" in data for part in parts)
