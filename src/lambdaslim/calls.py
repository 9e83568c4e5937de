"""What a source hands to functions of some names, and the words that its code holds.

Like `lambdaslim.signs`, this looks at tokens: the answer is the same whatever Python looks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from lambdaslim.tokens import CLOSING, NAME, NEWLINE, OPENING, STRING, constants, decoded, tokens

_WORD = re.compile(r"[^\W\d]\w*")
_LITERAL = re.compile(rb"""["']([A-Za-z0-9_-]{1,60})["']""")
_FORMATTED = frozenset("ft")
# Tokens of a call that are looked at; of a longer one the arguments count that lie within.
_REACH = 2_000

_Token = tuple[str, str]


def handed(data: bytes, functions: Collection[str], keyword: str) -> Iterator[str | None]:
    """Yield what each call of a function is given, None for what is not written there.

    That is the argument `keyword`, or else the first one. A function that is given another name,
    or is handed on as a value of a module (`map(boto3.client, names)`), counts as such a call.

    Args:
        data: a source.
        functions: names of functions and methods.
        keyword: the name of the argument.
    """
    if not any(name.encode() in data for name in functions):
        return
    found = tokens(decoded(data))
    modules = set(_imported(found))
    for place, (kind, text) in enumerate(found):
        if kind != NAME or text not in functions or _text(found, place - 1) in ("def", "class"):
            continue
        after = _text(found, place + 1)
        if after == "(":
            arguments = list(_arguments(found, place + 2))
            if arguments:
                yield _constant(_chosen(arguments, keyword))
        elif after == "as" or _of_module(found, place, modules):
            yield None


def literals(data: bytes) -> frozenset[str]:
    """Return the short words that stand in quotes in a source, comments included."""
    return frozenset(match[1].decode("ascii") for match in _LITERAL.finditer(data))


def words(data: bytes) -> frozenset[str]:
    """Return the words of a source: its names, and those in its strings.

    Comments, and strings that are statements of their own, are not code.
    """
    found = tokens(decoded(data))
    held: set[str] = set()
    for place, (kind, text) in enumerate(found):
        if kind == NAME:
            held.add(text)
        elif kind == STRING and not _stands_alone(found, place):
            held.update(_WORD.findall(text))
    return frozenset(held)


def _text(found: list[_Token], place: int) -> str:
    return found[place][1] if 0 <= place < len(found) else ""


def _stands_alone(found: list[_Token], place: int) -> bool:
    first = place == 0 or found[place - 1][0] == NEWLINE
    return first and (place + 1 == len(found) or found[place + 1][0] == NEWLINE)


def _imported(found: list[_Token]) -> Iterator[str]:
    """Yield the names that are imported as modules: `import a`, `import a as b`."""
    for place, (_, text) in enumerate(found):
        if text == "import" and _text(found, place - 1) in ("", "\n", "\r\n", ";", ":"):
            yield _text(found, place + 1)
            if _text(found, place + 2) == "as":
                yield _text(found, place + 3)


def _of_module(found: list[_Token], place: int, modules: set[str]) -> bool:
    """Tell whether a name is taken from a module and handed on: boto3.client, without a call."""
    taken = _text(found, place - 1) == "." and _text(found, place - 2) in modules
    return taken and _text(found, place + 1) != "."


def _arguments(found: list[_Token], place: int) -> Iterator[list[_Token]]:
    """Yield the arguments of a call, each as its tokens, from behind the bracket on."""
    depth, argument = 0, list[_Token]()
    for kind, text in found[place : place + _REACH]:
        if kind not in (STRING, NAME):
            depth += (text in OPENING) - (text in CLOSING)
        if depth < 0 or (depth == 0 and text == ","):
            if argument:
                yield argument
            argument = []
            if depth < 0:
                return
        else:
            argument.append((kind, text))
    if argument:
        yield argument


def _chosen(arguments: list[list[_Token]], keyword: str) -> list[_Token]:
    """Return the tokens of the argument that has the name, else of the first one."""
    for argument in arguments:
        if argument[0][1] == keyword and argument[1:2] and argument[1][1] == "=":
            return argument[2:]
    return arguments[0]


def _constant(argument: list[_Token]) -> str | None:
    """Return the text of an argument that is one string, else None."""
    strings = [text for kind, text in argument if kind == STRING]
    prefixes = {letter for text in strings for letter in text[: len(text) - len(_body(text))]}
    if len(strings) != len(argument) or not strings or _FORMATTED & prefixes:
        return None
    return "".join(constants(strings))


def _body(literal: str) -> str:
    return literal.lower().lstrip("abcdefghijklmnopqrstuvwxyz")
