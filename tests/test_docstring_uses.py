"""What is seen of code that needs docstrings, and what is not taken for it."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdaslim import Tree
from lambdaslim.distributions import Distributions
from lambdaslim.docstring_uses import NONE, DocstringUses, defined, docstring_uses
from lambdaslim.hazards import Hazards
from trees import Data, dist, tree_from

HARMLESS = [
    "f.__doc__ = g.__doc__\n",
    "f.__doc__ = 'text'\n",
    "x = f.__doc__ or ''\n",
    "x = (f.__doc__ or '').strip()\n",
    "if f.__doc__:\n    f.__doc__ = f.__doc__.strip()\n",
    "if f.__doc__ is not None:\n    f.__doc__ += 'more'\n",
    "x = None if not f.__doc__ else cleandoc(f.__doc__)\n",
    "f.__doc__ = f.__doc__ and f.__doc__ % names\n",
    "doc = f.__doc__\nif doc is None:\n    doc = ''\nx = doc.strip()\n",
    "x = inspect.getdoc(f) or ''\n",
    "print(f.__doc__)\n",
    "x = property(get, doc=f.__doc__)\n",
    "x = 'documented: %s' % f.__doc__\n",
    "raise ValueError(f.__doc__)\n",
    "class A:\n    def __doc__(self):\n        return make().__doc__ + 'more'\n",
    "from .a import __doc__\n",
    "from .a import (\n    __all__,\n    __doc__,\n)\n",
    "def f(x):\n    '''A function must have a docstring.'''\n",
    "if f.__doc__:\n    raise ValueError('it has a docstring already')\n",
    "if getattr(f, 'marked', False):\n    assert f.__doc__\n",
    "d = {'__doc__': f.__doc__}\n",
]


@pytest.mark.parametrize("source", HARMLESS)
def test_harmless(source: str) -> None:
    found = docstring_uses(source.encode())
    assert DocstringUses(asking=found.asking) == found


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("x = f.__doc__.strip()\n", DocstringUses(given=True)),
        ("x = f.__doc__ % names\n", DocstringUses(given=True)),
        ("x = f.__doc__[1:]\n", DocstringUses(given=True)),
        ("x = 'text' + f.__doc__\n", DocstringUses(given=True)),
        ("x = 'text' in f.__doc__\n", DocstringUses(given=True)),
        ("def d(f):\n    f.__doc__ += 'more'\n", DocstringUses(given=True)),
        ("def d(f):\n    assert f.__doc__\n", DocstringUses(given=True)),
        ("def d(f):\n    doc = f.__doc__\n    return doc.strip()\n", DocstringUses(given=True)),
        ("x = getattr(f, '__doc__', '').strip()\n", DocstringUses(given=True)),
        ("x = inspect.getdoc(f).strip()\n", DocstringUses(given=True)),
        ("x = make().__doc__.strip()\n", DocstringUses(given=True)),
        ("rules.append((name, f.__doc__))\n", DocstringUses(given=True)),
        ("if not f.__doc__:\n    raise ValueError(f)\n", DocstringUses(given=True)),
        ("def f(): ...\nf.__doc__ += 'more'\n", DocstringUses(names=frozenset({"f"}))),
        ("from a import A\nx = A.f.__doc__.strip()\n", DocstringUses(names=frozenset({"f"}))),
        ("x = dedent(f.__doc__)\n", DocstringUses(handed=frozenset({("dedent", "")}))),
        (
            "import a\nx = note(a.f.__doc__, 1)\n",
            DocstringUses(handed=frozenset({("note", "f")})),
        ),
        ("p = Parser(description=__doc__)\n", DocstringUses(own=True)),
        ("x = docopt(__doc__)\n", DocstringUses(own=True)),
        ("class A:\n    def f(self):\n        print(self.__doc__ % 1)\n", DocstringUses(own=True)),
        ("raise ValueError('Function must have a docstring')\n", DocstringUses(demands=True)),
    ],
)
def test_uses(source: str, uses: DocstringUses) -> None:
    assert docstring_uses(source.encode()) == uses


def test_a_function_that_asks_for_its_argument() -> None:
    source = "def note(doc, more):\n    if doc is None:\n        return\n"
    source += "def other(doc):\n    return doc\nf.__doc__ = note(f.__doc__, 1)\n"
    assert docstring_uses(source.encode()).asking == {"note"}


@given(st.text(alphabet="x.()[]=:%,\n '_docget\"#", max_size=60))
def test_any_text_is_read(text: str) -> None:
    docstring_uses(f"{text}__doc__{text}getdoc({text}".encode())


def test_most_sources_use_none() -> None:
    assert docstring_uses(b"x = 1\n") is NONE


def needed(files: dict[str, Data], *others: Tree) -> set[str]:
    tree = tree_from(dist("pkg", files=files), *(list(one.values()) for one in others))
    return set(Hazards(tree, Distributions.read(tree)).documented)


OTHER = tree_from(
    dist(
        "other",
        files={
            "other/__init__.py": "",
            "other/uses.py": "import pkg.deco\n",
            "other/tool.py": "from pkg import tools\n",
            "other/free.py": "import pkg\n",
        },
    )
)
PLAIN: dict[str, Data] = {
    "pkg/__init__.py": "",
    "pkg/a.py": "def f(): ...\n",
    "pkg/b.py": "x = 1\n",
}


def test_by_name_what_has_the_name() -> None:
    use = "from pkg.a import f\nf.__doc__ += 'more'\n"
    assert needed(PLAIN | {"pkg/c.py": use}, OTHER) == {"pkg/a.py"}


def test_of_what_is_given_the_distribution_and_importers() -> None:
    use = "def deco(g):\n    g.__doc__ += 'more'\n"
    found = needed(PLAIN | {"pkg/deco.py": use}, OTHER)
    assert found == {*PLAIN, "pkg/deco.py", "other/uses.py"}


def test_a_function_nearby_that_asks_is_no_need() -> None:
    note = "def note(doc):\n    return doc or ''\n# __doc__\n"
    use = "import pkg.a\nx = note(pkg.a.f.__doc__)\n"
    assert needed(PLAIN | {"pkg/note.py": note, "pkg/c.py": use}) == set()
    assert needed(PLAIN | {"pkg/c.py": use}) == {"pkg/a.py"}


def test_demands_hold_for_importers_of_the_package() -> None:
    demand = "raise ValueError('no docstring')\n"
    found = needed(PLAIN | {"pkg/tools/__init__.py": "", "pkg/tools/base.py": demand}, OTHER)
    assert found == {"other/tool.py"}


def test_more_aliases_than_anybody_writes_keep_all_and_take_no_time() -> None:
    found = docstring_uses(b"d = x.__doc__\n" * 3_000)
    assert found.own
    assert found.given
    assert docstring_uses(b"".join(b"d%d = x.__doc__\n" % n for n in range(10_000))) == NONE


@pytest.mark.parametrize(
    "piece",
    [
        "def f(a):\n x=a.__doc__\n",
        "getattr(",
        "x = a.__doc__\n",
        "f.__doc__.x\n",
        "℘ = f.__doc__\n",
        "(",
    ],
)
def test_hostile_sources_take_bounded_time(piece: str) -> None:
    source = "def f(): pass\n" + piece * (300_000 // len(piece)) + "\n# __doc__"
    started = time.process_time()
    docstring_uses(source.encode())
    assert time.process_time() - started < 20


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def a():\n  class B: ...\nclass\tC(B): ...\nasync def d(): ...\n", ["B", "C", "a", "d"]),
        ("undef = 1\nundef e\nsubclass F\n_def g\n", []),
        ("define(1)\nclassic = 2\n", []),
        ("def é(): ...\n", ["é"]),
        ("@dataclass\nclass Foo: ...\n", ["Foo"]),
        ("# the base class\nclass Foo: ...\n# a def\ndef g(): ...\n", ["Foo", "class", "def", "g"]),
        ("def\\\n  x(): ...\n", []),
        ("", []),
    ],
)
def test_the_names_that_a_source_defines(source: str, names: list[str]) -> None:
    assert defined(source.encode()) == names


@given(
    st.lists(
        st.sampled_from(
            [
                "class A: ...",
                "@dataclass",
                "def f(): ...",
                "# a class",
                "x = subclass",
                "    def g():",
            ]
        )
    )
)
def test_no_definition_is_overlooked(lines: list[str]) -> None:
    source = "\n".join(lines)
    expected = set(re.findall(r"\b(?:def|class)\s+(?=(\w+))", source))
    assert set(defined(source.encode())) == expected


def test_a_class_below_a_word_that_ends_like_the_keyword_is_found() -> None:
    tree = tree_from(
        {
            "lib/__init__.py": "",
            "lib/a.py": "# The base class\nclass Options:\n    'Run it.'\n    x = 1\n",
            "lib/b.py": "from .a import Options\nHELP = Options.__doc__.strip()\n",
        }
    )
    assert "lib/a.py" in Hazards(tree, Distributions.read(tree)).documented
