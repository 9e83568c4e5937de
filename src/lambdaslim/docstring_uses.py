"""What one source does with docstrings that would go wrong, or be seen, if there were none.

A docstring that is gone is None. Code that copies it, or asks first whether it is there, works as
before. Code that takes it apart or adds to it fails, and code that refuses what has none refuses.
This reads tokens, and knows only what is written there: no types, and no other module.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise

from lambdaslim.tokens import CLOSING, NAME, NEWLINE, OPENING, STRING, decoded, tokens

_DOC = "__doc__"
_GETDOC = "getdoc"
_GETATTR = "getattr"
# Names that lead to a docstring, and words after which a function, a class or an import is named.
_MEANT = {_DOC, _GETDOC, _GETATTR}
_INTRODUCE = {"def", "class", "import", "as", ",", "("}
_MAY_USE = re.compile(rb"__doc__|\bgetdoc\b|[dD]ocstring")
# One of these is in what that matches, and is looked for much faster.
_MAYBE = (b"__doc__", b"getdoc", b"ocstring")
# A search for a word that stands first is fast, so what is before it is looked at later. The name
# is not consumed: after "@dataclass", it is the "class" of what is defined.
_DEFINITIONS = (
    re.compile(rb"def\s+(?=([\w\x80-\xff]+))"),
    re.compile(rb"class\s+(?=([\w\x80-\xff]+))"),
)
_WORD = re.compile(rb"\w")
# After an expression: it is asked whether it is there.
_TESTS_AFTER = {"is", "or", "and", "if"}
_TESTS_BEFORE = {"if", "elif", "while", "not", "and", "or"}
# After an expression: something is done to it that None does not take.
_TAKES_APART = {".", "[", "%", "+", "+=", "in", "*"}
_ENDS = {",", ":", "", "else", "for", *CLOSING}
# Functions that take None as well as a text.
_FUNCTIONS = (
    "print str repr format bool type cast warn property setattr isinstance get pop setdefault"
)
# Names before a bracket that call nothing.
_WORDS = "if elif while and or not return in assert import"
_TOLERANT = {*_FUNCTIONS.split(), *_WORDS.split()}
_ASKS_FOR_MARKS = {"getattr", "hasattr"}
_ERROR = re.compile(r"(?:Error|Exception|Warning)$")
# What the message of an error says of docstrings if it demands them.
_DEMAND = re.compile(
    r"(?i)\b(?:have|without|missing|requires?|needs?|no|provide)\s+(?:an?\s+)?(?:\w+\s+)?docstring"
    r"|docstring\s+(?:is\s+|must\s+be\s+)?(?:missing|required|needed|provided)"
)
# Functions around a place whose parameters it may mean.
_NESTED = 4
# Tokens of the arguments of a getattr that are looked at.
_ARGUMENTS = 60
# Tokens between a question and the use that it is asked for, and before a message of an error.
_BEFORE, _AFTER, _RAISED = 250, 60, 30
# Uses of names for docstrings that are looked at; no real source has as many.
_MOST_ALIASES = 2_000


@dataclass(frozen=True, slots=True)
class DocstringUses:
    """What a source needs docstrings for.

    Attributes:
        own: it uses the docstring of its own module.
        names: functions and classes that it names, and takes the docstrings of apart.
        given: it takes apart the docstrings of what it is given.
        handed: functions that it gives docstrings to as first arguments, each with the name of what
            they document, or "" for what the module is given itself.
        asking: its functions that ask whether there is a first argument.
        demands: it raises an error that speaks of docstrings.
    """

    own: bool = False
    names: frozenset[str] = frozenset()
    given: bool = False
    handed: frozenset[tuple[str, str]] = frozenset()
    asking: frozenset[str] = frozenset()
    demands: bool = False


NONE = DocstringUses()


def docstring_uses(data: bytes) -> DocstringUses:
    """Return what a source needs docstrings for."""
    if not (any(one in data for one in _MAYBE) and _MAY_USE.search(data)):
        return NONE
    return _Reading(tokens(decoded(data))).uses()


def defined(data: bytes) -> list[str]:
    r"""Return the names of the functions and classes that a source may define, each once.

    >>> defined(b"class A:\n    def b(self): ...\n")
    ['A', 'b']
    """
    found = (
        match[1].decode("utf-8", "replace")
        for pattern in _DEFINITIONS
        for match in pattern.finditer(data)
        if not _WORD.match(data[max(match.start() - 1, 0) : match.start()])
    )
    return sorted(set(found))


@dataclass(slots=True)
class _Expression:
    """An expression that is a docstring: its tokens from `start` up to `end`, and whose it is."""

    start: int
    end: int
    text: tuple[str, ...]
    owner: tuple[str, ...]


@dataclass(slots=True)
class _Reading:
    """Walks through the tokens of a source."""

    found: list[tuple[str, str]]
    own: bool = False
    names: set[str] = field(default_factory=set)
    given: bool = False
    handed: set[tuple[str, str]] = field(default_factory=set)
    opened: list[int] = field(default_factory=list)
    partner: dict[int, int] = field(default_factory=dict)
    defs: list[int] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    meant: list[int] = field(default_factory=list)
    places: dict[str, list[int]] = field(default_factory=dict)
    varying: dict[str, list[int]] = field(default_factory=dict)

    def uses(self) -> DocstringUses:
        self._prepare()
        expressions = [*self._expressions()]
        aliases = (alias for one in expressions for alias in self._aliases(one))
        found = list(islice(aliases, _MOST_ALIASES))
        if len(found) == _MOST_ALIASES:
            return DocstringUses(own=True, given=True)
        expressions += found
        tested = [(one.text, one.start) for one in expressions if self._tests(one)]
        for one in expressions:
            if self._text(self._def_before(one.start) + 1) == _DOC:
                continue  # it runs when somebody asks for it
            if self._refused(one) or (self._taken_apart(one) and not self._asked(one, tested)):
                self._note(one)
            elif not one.owner and one.text == (_DOC,) and self._seen(one):
                self.own = True
        return DocstringUses(
            own=self.own,
            names=frozenset(self.names),
            given=self.given,
            handed=frozenset(self.handed),
            asking=frozenset(self._asking()),
            demands=self._demands(),
        )

    def _text(self, place: int) -> str:
        return self.found[place][1] if 0 <= place < len(self.found) else ""

    def _prepare(self) -> None:
        """Find functions, the partners of brackets, and the innermost one at each token.

        Most of the time that a source takes is spent here, so this looks at each token once.
        """
        stack = [-1]
        before = ""
        for place, (kind, text) in enumerate(self.found):
            self.opened.append(stack[-1])
            if kind == NAME:
                if text == "def":
                    self.defs.append(place)
                elif text in _MEANT:
                    self.meant.append(place)
                if before in _INTRODUCE and (before in ("def", "class") or self._imported(place)):
                    self.known.add(text)
            elif kind != STRING:
                if text in OPENING:
                    stack.append(place)
                elif text in CLOSING and len(stack) > 1:
                    start = stack.pop()
                    self.partner[start], self.partner[place] = place, start
            before = text

    def _expressions(self) -> Iterator[_Expression]:
        """Yield x.__doc__, getattr(x, "__doc__"), and getdoc(x)."""
        for place in self.meant:
            text, call = self._text(place), self._text(place + 1) == "("
            if text == _DOC:
                start = self._start(place)
                yield self._expression(start, place + 1, start, place - 1)
            elif text == _GETDOC and call and self._text(place - 1) != "def":
                end = self.partner.get(place + 1, place + 1)
                yield self._expression(self._start(place), end + 1, place + 2, end)
            elif text == _GETATTR and call:
                end = self.partner.get(place + 1, place + 1)
                named = self.found[place + 2 : min(end, place + _ARGUMENTS)]
                if any(one[1][1:-1] == _DOC for one in named):
                    yield self._expression(self._start(place), end + 1, place + 2, end)

    def _expression(self, start: int, end: int, first: int, last: int) -> _Expression:
        text = tuple(text for _, text in self.found[start:end])
        return _Expression(start, end, text, tuple(text for _, text in self.found[first:last]))

    def _start(self, place: int) -> int:
        """Return where the expression starts of which a name is the last part: a.b(c).name."""
        while self._text(place - 1) == "." and place > 1:
            place -= 2
            while self._text(place) in CLOSING and place in self.partner:
                place = self.partner[place] - 1
            if self.found[place][0] not in (NAME, STRING):
                return place + 1
        return place

    def _aliases(self, one: _Expression) -> Iterator[_Expression]:
        """Yield the uses of a name that a docstring is assigned to, in the rest of the function."""
        name = self._text(one.start - 2)
        alone = self.opened[one.start] < 0 and self._text(one.start - 1) == "="
        whole = self.found[one.end][0] == NEWLINE if one.end < len(self.found) else True
        first = one.start < 3 or self.found[one.start - 3][0] == NEWLINE  # noqa: PLR2004 - "name ="
        if not (alone and whole and first and name.isidentifier() and name != _DOC):
            return
        last = next(iter(self.defs[bisect_left(self.defs, one.end) :]), len(self.found))
        places = self._places_of(name)
        for place in places[bisect_left(places, one.end) : bisect_left(places, last)]:
            if self._text(place - 1) != ".":
                yield _Expression(place, place + 1, (name,), one.owner or (_DOC,))

    def _places_of(self, name: str) -> list[int]:
        """Return where a name stands; few sources ask, and all of their names are found at once."""
        if not self.places:
            for place, (kind, text) in enumerate(self.found):
                if kind == NAME:
                    self.places.setdefault(text, []).append(place)
        return self.places.get(name, [])

    def _tests(self, one: _Expression) -> bool:
        """Tell whether it is asked whether a docstring is there."""
        before, after = self._text(one.start - 1), self._text(one.end)
        if after in _TESTS_AFTER:
            return True
        return before in _TESTS_BEFORE and after not in _TAKES_APART

    def _asked(self, one: _Expression, tested: list[tuple[tuple[str, ...], int]]) -> bool:
        """Tell whether the same is asked about near a use, in the same function."""
        for text, place in tested:
            if text == one.text and one.start - _BEFORE < place < one.start + _AFTER:
                first, last = sorted((place, one.start))
                if all(text != "def" for _, text in self.found[first:last]):
                    return True
        return False

    def _refused(self, one: _Expression) -> bool:
        """Tell whether it is an error that there is no docstring."""
        if self._text(one.start - 1) == "assert":
            return not self._marked(one)
        absent = self._text(one.end + 1) == "None" or self._text(one.start - 1) == "not"
        end = one.end
        while end < min(one.end + _RAISED, len(self.found)) and self.found[end][0] != NEWLINE:
            end += 1
        return (
            absent
            and self._tests(one)
            and self._text(end - 1) == ":"
            and self._text(end + 1) == "raise"
        )

    def _marked(self, one: _Expression) -> bool:
        """Tell whether what is documented was asked for a mark of its own before.

        Decorators leave such marks, and what is decorated keeps its docstring.
        """
        before = [text for _, text in self.found[max(one.start - _RAISED, 0) : one.start]]
        asks = (before[n + 2 : n + 3] for n, text in enumerate(before) if text in _ASKS_FOR_MARKS)
        return any(owner == [*one.owner[:1]] for owner in asks)

    def _taken_apart(self, one: _Expression) -> bool:
        before, after = self._text(one.start - 1), self._text(one.end)
        if before in ("+", "in") or after in _TAKES_APART:
            return True
        return before not in ("=", "*") and after in _ENDS and self._handed_over(one.start)

    def _handed_over(self, place: int) -> bool:
        """Tell whether a function is given a docstring that may not expect None."""
        bracket = self.opened[place]
        if bracket < 0 or self._text(bracket) == "{":
            return False
        if self._text(place - 1) not in ("(", ",", "["):
            return False
        if self._text(bracket) == "(" and self.found[bracket - 1][0] == NAME and bracket:
            raised = self._text(bracket - 2) in ("def", "raise")
            return not raised and self._minds(self._text(bracket - 1))
        return self._handed_over_within(bracket)

    def _handed_over_within(self, bracket: int) -> bool:
        """Tell whether a tuple or list is itself the argument of a call."""
        outer = self.opened[bracket]
        called = outer > 0 and self._text(outer) == "(" and self.found[outer - 1][0] == NAME
        return called and self._minds(self._text(outer - 1)) and self._text(bracket - 1) != "%"

    def _minds(self, function: str) -> bool:
        """Tell whether a function may want a text where it is given None."""
        return function not in _TOLERANT and not _ERROR.search(function)

    def _note(self, one: _Expression) -> None:
        """Note whose docstring it is, and who is to take it apart."""
        owner, name = one.owner, ""
        # Classes with bases keep their docstrings everywhere, so "self" is of a class written here.
        if not owner or owner == (_DOC,) or owner[0] in ("self", "cls"):
            self.own = True
            return
        if self._known(owner[0], one.start) and all(text.isidentifier() for text in owner[::2]):
            name = owner[-1]
        whole = self._text(one.end) in (",", ")") and self._text(one.start - 1) == "("
        if whole and self._text(one.start - 2).isidentifier():
            self.handed.add((self._text(one.start - 2), name))
        elif name:
            self.names.add(name)
        else:
            self.given = True

    def _asking(self) -> Iterator[str]:
        """Yield the functions that ask whether they have been given a first argument."""
        for place, last in pairwise([*self.defs, len(self.found)]):
            name = self._text(place + 3)
            uses = (n for n in range(place + 4, last) if self.found[n] == (NAME, name))
            if any(self._tests(_Expression(n, n + 1, (name,), ())) for n in uses):
                yield self._text(place + 1)

    def _known(self, name: str, place: int) -> bool:
        """Tell whether a name is a function, a class or an import, and no variable around here."""
        if name not in self.known:
            return False
        first = self._def_before(place, _NESTED)
        if name not in self.varying:
            self.varying[name] = [one for one in self._places_of(name) if self._varies(one)]
        places = self.varying[name]
        following = bisect_left(places, first)
        return following == len(places) or places[following] >= place

    def _def_before(self, place: int, back: int = 1) -> int:
        """Return where the last function before a place starts, or an earlier one, 0 if none."""
        number = bisect_left(self.defs, place) - back
        return self.defs[number] if number >= 0 else 0

    def _seen(self, one: _Expression) -> bool:
        """Tell whether a module does more with its docstring than to have and to copy it."""
        before, after = self._text(one.start - 1), self._text(one.end)
        return not (
            before in ("import", "def", ":")
            or (after == "=" and self._text(one.end + 1) != "=")
            or (before in (",", "(") and self._imports(one.start))
        )

    def _imports(self, place: int) -> bool:
        bracket = self.opened[place]
        while bracket < 0 and place > 0 and self.found[place][0] != NEWLINE:
            place -= 1
            if self._text(place) == "import":
                return True
        return bracket > 0 and self._text(bracket - 1) == "import"

    def _starts_line(self, place: int) -> bool:
        return place == 0 or self.found[place - 1][0] == NEWLINE

    def _varies(self, place: int) -> bool:
        """Tell whether a name is a variable or a parameter."""
        assigned = self._text(place + 1) == "=" and self._starts_line(place)
        return assigned or self._text(place - 1) == "for" or self._is_parameter(place)

    def _is_parameter(self, place: int) -> bool:
        bracket = self.opened[place]
        return bracket > 1 and self._text(bracket) == "(" and self._text(bracket - 2) == "def"

    def _imported(self, place: int) -> bool:
        return self._text(place - 1) in ("import", "as") or (
            self._text(place - 1) in (",", "(") and self._imports(place)
        )

    def _demands(self) -> bool:
        """Tell whether the message of an error speaks of docstrings."""
        for place, (kind, text) in enumerate(self.found):
            if kind != STRING or "DOCSTRING" not in text.upper() or self._starts_line(place):
                continue
            if _DEMAND.search(text):
                near = self.found[max(place - _RAISED, 0) : place + _RAISED]
                if any(one == (NAME, "raise") for one in near):
                    return True
        return False
