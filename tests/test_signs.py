"""What a source shows of the needs of its code, and that nothing else does."""

from __future__ import annotations

import time

import pytest

from lambdaslim.signs import ANY, NONE, OWN, read_signs, uses_docstrings


@pytest.mark.parametrize(
    ("source", "calls"),
    [
        ("import inspect\ninspect.getsource(f)\n", ("getsource",)),
        (
            "from inspect import getsourcelines as g, findsource\nfindsource(f)\n",
            ("getsourcelines", "findsource"),
        ),
        ("text = open(__file__).read()\n", ("open(__file__)",)),
        ("text = open(__file__, encoding='utf-8').read()\n", ("open(__file__)",)),
        ("text = Path(__file__).read_text()\n", ("open(__file__)",)),
        ("text = __loader__.get_source(__name__)\n", ("get_source",)),
        ("text = __spec__.loader.get_source(__name__)\n", ("get_source",)),
        ("import linecache\nlinecache.getline(f.co_filename, 1)\n", ("linecache", "co_filename")),
        ("import linecache\nlinecache.cache[name] = x\n", ()),
        ("open(inspect.getfile(f)).read()\n", ("getfile",)),
        ("inspect.stack()[1].code_context\n", ("code_context",)),
        ("name = __file__[:-3] + '.json'\n", ("a part of __file__",)),
        ("name = basename(__file__).replace('app.py', 'x')\n", ("a part of __file__",)),
        ("name = os.path.splitext(__file__)[0]\n", ()),
        ("@torch.jit.script\ndef f(x): ...\n", ("jit.script",)),
        ("@triton.jit\ndef kernel(x): ...\n", ("triton.jit",)),
        ("def getsource(self):\n    'getsource(x)'\n", ()),
        ("# inspect.getsource(f)\nHERE = dirname(__file__)\n", ()),
        ("handle = open(join(dirname(__file__), 'data.json'))\n", ()),
    ],
)
def test_reading_sources(source: str, calls: tuple[str, ...]) -> None:
    assert read_signs(source.encode()).reads_source == calls


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("open(join(here, 'config.py'))", {"config.py"}),
        ("for n in ('a.py', 'b/c.py'): open(n)", {"a.py", "b/c.py"}),
        ("open('config-{}.{}.py'.format(*v))", {"config-*.*.py"}),
        ("open(f'config-{major}.py')", {"config-*.py"}),
        ("open('%s_gen.py' % name)", {"*_gen.py"}),
        ("open(join(HERE, '../__init__.py'))", {"../__init__.py"}),
        ("exists('{}/__init__.py'.format(name))", set()),
        ("'''See config.py'''\nopen(x)", set()),
        ("os.system('python job.py --now')", {"job.py"}),
        ("log('look into docs.python.org/x.py')", {"docs.python.org/x.py"}),
        ("raise ValueError('config.py')", {"config.py"}),
        ("re.compile(r'^(\\w+)_gen\\.py$')", {"*_gen.py"}),
    ],
)
def test_names_of_sources(source: str, names: set[str]) -> None:
    assert read_signs(source.encode()).file_names == names


@pytest.mark.parametrize(
    "source",
    [
        "[open(n) for n in os.listdir(dirname(__file__)) if n.endswith('.py')]",
        "[p for p in Path(__file__).parent.glob('*.py')]",
        "exists(join(__path__[0], name + '.py'))",
        "[n for n in listdir(dirname(__file__)) if n.split('.')[-1] == 'py']",
        "[n for n in listdir(dirname(__file__)) if re.match(r'(\\w+)\\.py$', n)]",
        "exists(join(__path__[0], f'{name}.py'))",
        "open('%s/%s.py' % (dirname(__file__), name))",
    ],
)
def test_composing_names_of_sources(source: str) -> None:
    signs = read_signs(source.encode())
    assert (signs.composes, signs.anchored, signs.reads_files) == (True, True, True)


@pytest.mark.parametrize(
    ("source", "caches"),
    [
        ("from numba import njit\n@njit(cache=True)\ndef f(): ...\n", True),
        ("@nb.vectorize(['f8(f8)'], cache = True)\ndef f(x): ...\n", True),
        ("@nb.jit(nopython=True, cache=CACHE)\ndef f(x): ...\n", True),
        ("import numba\nfast = partial(numba.njit, cache=True)\n", True),
        ("import numba\nOPTIONS = dict(cache=True)\n", True),
        ("from .compat import njit\nf = njit(**{'cache': True})(g)\n", True),
        ("import numba\n@njit(cache=False)\ndef f(): ...\n", False),
        ("client.list(cache=True)\n", False),
        ("import numba\ncache = {}\n", False),
    ],
)
def test_caching_what_is_compiled(source: str, caches: bool) -> None:  # noqa: FBT001 - a parameter
    assert read_signs(source.encode()).caches_compiled == caches


@pytest.mark.parametrize(
    ("source", "documents"),
    [
        ("c = ConfigDict(use_attribute_docstrings=True)", True),
        ("c = {'use_attribute_docstrings': True}", True),
        ("class Config:\n    use_attribute_docstrings = True", True),
        ("c = ConfigDict(use_attribute_docstrings=False)", False),
        ("class C(TypedDict):\n    use_attribute_docstrings: bool", False),
    ],
)
def test_docstrings_of_attributes(source: str, documents: bool) -> None:  # noqa: FBT001 - as above
    assert read_signs(source.encode()).documents_attributes == documents


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("from importlib.metadata import version\nv = version('a_b')", {"a_b"}),
        ("import importlib.metadata as m\nv = m.metadata(__name__)['Name']", {OWN}),
        ("import importlib.metadata\nimportlib.metadata.version(name)", {ANY}),
        ("import pkg_resources\npkg_resources.require('x>=1')", {"x>=1"}),
        ("import importlib.metadata\nself.version('x')", {"x"}),
        ("def version(x): ...\nversion('x')", set()),
    ],
)
def test_lookups_of_metadata(source: str, asked: set[str]) -> None:
    assert read_signs(source.encode()).looks_up == asked


@pytest.mark.parametrize(
    ("source", "groups"),
    [
        ("import importlib.metadata as m\nm.entry_points(group='g.h')", {"g.h"}),
        ("import importlib.metadata as m\nm.entry_points()", {ANY}),
        ("import pkg_resources\npkg_resources.iter_entry_points('g')", {"g"}),
        ("import pkg_resources\npkg_resources.iter_entry_points(group=G)", {ANY}),
    ],
)
def test_lookups_of_entry_points(source: str, groups: set[str]) -> None:
    assert read_signs(source.encode()).entry_points == groups


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("import importlib.metadata as m\nm.distribution('x').read_text('direct_url.json')", 1),
        ("import importlib.metadata\nimportlib.metadata.files('x')", 1),
        ("import importlib.metadata\nimportlib.metadata.version('x')", 0),
        ("from importlib import metadata\nnames = metadata.distribution('x').files", 1),
        # Read for another sign, the name of a header.
        ("names = dataset.files\nuse(dataset.metadata, 'name.h')", 0),
    ],
)
def test_rare_parts_of_metadata(source: str, parts: int) -> None:
    assert len(read_signs(source.encode()).metadata_parts) == parts


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        ("open(join(dirname(__file__), 'tests', 'data', 'x.csv'))", {("tests", "data", "x.csv")}),
        ("Path(__file__).parent / 'tests' / 'data'", {("tests", "data")}),
        ("open(join(dirname(__file__), 'tests/data/x.csv'))", {("tests", "data", "x.csv")}),
        ("SKIP = join(dirname(__file__), 'tests')", set()),
        ("open(dirname(__file__) + name + 'tests')", set()),
    ],
)
def test_paths_below_tests(source: str, paths: set[tuple[str, ...]]) -> None:
    assert read_signs(source.encode()).below_tests == paths


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("f.__doc__ = g.__doc__ % names\n", True),
        ("f.__doc__ = f.__doc__.format(x)\n", True),
        ("head, _, tail = cls.__doc__.partition('x')\n", True),
        ("if not f.__doc__: raise ValueError\n", True),
        ("args = docopt(__doc__)\n", True),
        ("inspect.getdoc(f)\n", True),
        ("f.__doc__ = g.__doc__\n", False),
        ("f.__doc__ = self.a.b.__doc__\nx = 1\n", False),
        ("f.__doc__ = 'text'\n", False),
        ("'about __doc__'\n", False),
    ],
)
def test_uses_of_docstrings(source: str, uses: bool) -> None:  # noqa: FBT001 - a parameter
    assert uses_docstrings(source.encode()) == uses


@pytest.mark.parametrize(
    "source",
    [b"", b"x = 1\n", b"\xff\xfe\0", b"'''never ends open(", b")]}\n" * 50, b"getsource"],
)
def test_what_shows_nothing_or_is_no_source(source: bytes) -> None:
    assert read_signs(source).file_names == NONE.file_names
    assert not uses_docstrings(source)


@pytest.mark.parametrize("piece", [b"getsource(", b"'tests', ", b"(", b"'a.py' ", b"\n try:"])
def test_hostile_sources_take_bounded_time(piece: bytes) -> None:
    started = time.perf_counter()
    read_signs(b"__file__ open( getsource( " + piece * 20_000)
    assert time.perf_counter() - started < 20
