"""A source as tokens, by rules that no version of Python has changed.

The parser of the running Python knows one grammar; the target's may be newer or older, and what is
found in a source must not depend on who looks.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from importlib.util import decode_source

OPENING, CLOSING = ("(", "[", "{"), (")", "]", "}")

STRING, NAME, NEWLINE = "string", "name", "newline"
_SPACE, _OTHER = "space", "other"
# A string that does not end goes on to the end of its line, or of the file.
_TOKEN = re.compile(
    r"""
    (?P<space> [ \t\f\0]+ | \\\r?\n | \#[^\r\n]* )
    | (?P<string> [A-Za-z]{0,2} (?:
        \"{3} (?: [^"\\] | \\. | \"(?!"") )*+ (?: \"{3} | \Z | \\ )
        | '{3} (?: [^'\\] | \\. | '(?!'') )*+ (?: '{3} | \Z | \\ )
        | " (?: [^"\\\r\n] | \\. )*+ "?
        | ' (?: [^'\\\r\n] | \\. )*+ '?
    ) )
    | (?P<name> [^\W\d]\w* )
    | (?P<newline> \r\n? | \n )
    | (?P<other> \+= | . )
    """,
    re.VERBOSE | re.DOTALL,
)


def tokens(text: str) -> list[tuple[str, str]]:
    """Return the kind and text of each token: `STRING`, `NAME`, `NEWLINE`, or "other".

    Space, comments, and the ends of lines within brackets are left out.
    """
    found: list[tuple[str, str]] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup or "", match[0]
        if kind == _SPACE:
            continue
        if kind == _OTHER:
            if token in OPENING:
                depth += 1
            elif token in CLOSING and depth:
                depth -= 1
        elif kind == NEWLINE and depth:  # a line goes on as long as a bracket is open
            continue
        found.append((kind, token))
    return found


def decoded(data: bytes) -> str:
    """Return a source as text, by its own declaration of encoding where that holds."""
    try:
        return decode_source(data)
    except (SyntaxError, UnicodeError):
        return data.decode("latin-1")


def constants(literals: Iterable[str]) -> Iterator[str]:
    """Yield the constant parts of string literals that stand side by side, joined.

    Escapes stay as they are written: no name of a module needs one.
    """
    whole = ""
    for literal in literals:
        prefix, body = _literal_parts(literal)
        if "f" in prefix or "t" in prefix:
            first, *others = re.split(r"\{[^{}]*\}", body)
            yield whole + first
            yield from others[:-1]
            whole = others[-1] if others else ""
        else:
            whole += body
    yield whole


def _literal_parts(literal: str) -> tuple[str, str]:
    """Return the lower-case prefix and the body of a string literal."""
    body = literal.lstrip(string.ascii_letters)
    size = 3 if body[:3] in ('"""', "'''") else 1
    return literal[: len(literal) - len(body)].lower(), body[size:-size]
