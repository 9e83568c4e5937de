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

STRING, NAME, NEWLINE, OTHER = "string", "name", "newline", "other"
# A string that does not end goes on to the end of its line, or of the file. Space and comments go
# before a token, so that there are fewer matches, and names come first, since most tokens are. Only
# single characters are repeated possessively: with groups, Python 3.11.2 gets that wrong.
_TOKEN = re.compile(
    r"""
    (?: [ \t\f\0]+ | \\\r?\n | \#[^\r\n]* )*
    (?: ([^\W\d]\w*+ (?! ["'] ))
    | ([A-Za-z]{0,2} (?:
        \"{3} (?: [^"\\]++ | \\. | \"(?!"") )* (?: \"{3} | \Z | \\ )
        | '{3} (?: [^'\\]++ | \\. | '(?!'') )* (?: '{3} | \Z | \\ )
        | " (?: [^"\\\r\n]++ | \\. )* "?
        | ' (?: [^'\\\r\n]++ | \\. )* '?
    ))
    | ([^\W\d]\w*)
    | (\r\n? | \n)
    | (\+= | .)
    | \Z )
    """,
    re.VERBOSE | re.DOTALL,
)
# The groups by number; a name right before a quote may be the prefix of a string.
_A_NAME, _A_STRING, _A_PREFIX, _A_NEWLINE, _ANOTHER = range(1, 6)


def tokens(text: str) -> list[tuple[str, str]]:
    """Return the kind and text of each token: `STRING`, `NAME`, `NEWLINE`, or "other".

    Space, comments, and the ends of lines within brackets are left out.
    """
    found: list[tuple[str, str]] = []
    add = found.append
    depth = 0
    # The most frequent first: sources of a tree have millions of tokens.
    for match in _TOKEN.finditer(text):
        group = match.lastindex
        if group == _A_NAME:
            add((NAME, match[_A_NAME]))
        elif group == _ANOTHER:
            token = match[_ANOTHER]
            if token in OPENING:
                depth += 1
            elif token in CLOSING and depth:
                depth -= 1
            add((OTHER, token))
        elif group == _A_NEWLINE:
            if not depth:  # within brackets a line goes on
                add((NEWLINE, match[_A_NEWLINE]))
        elif group is not None:
            add((STRING if group == _A_STRING else NAME, match[group]))
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
