"""Which files stay because code of the tree needs them, and how narrowly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lambdaslim import Entry, Pass, Pipeline, Result
from lambdaslim.distributions import Distributions
from lambdaslim.hazards import Hazards
from lambdaslim.knowledge import Knowledge
from lambdaslim.passes import PromoteBytecode, StripBytecode, StripMetadata, StripTests
from trees import PYTHON, cache_path, dist, tree_from

Texts = Mapping[str, str]


Item = Mapping[str, str | bytes] | list[Entry]


def hazards(*items: Item) -> Hazards:
    tree = tree_from(*items)
    return Hazards(tree, Distributions.read(tree))


def sources(*items: Item) -> set[str]:
    return set(hazards(*items).sources)


def package(name: str, files: Texts) -> list[Entry]:
    return dist(name, files={f"{name}/{path}": text for path, text in files.items()})


# Sources.


def test_a_module_that_reads_its_own_source_stays_alone() -> None:
    files = {"__init__.py": "", "a.py": "text = open(__file__).read()", "b.py": "x = 1"}
    assert sources(package("pkg", files)) == {"pkg/a.py"}


def test_the_users_own_code_stays_if_it_reads_any_source() -> None:
    """Nobody knows whose source it reads, and there is little of it."""
    own = {"app.py": "import inspect\ninspect.getsource(f)", "lib/b.py": "def f(): ..."}
    needs = hazards(own, package("pkg", {"__init__.py": "x = 1"})).sources
    assert set(needs) == {"app.py", "lib/b.py"}
    assert needs["lib/b.py"] == "app.py calls getsource"


def test_without_metadata_the_users_own_code_ends_at_its_package() -> None:
    files = {"app/a.py": "inspect.getsource(f)", "app/b.py": "", "other/c.py": ""}
    assert sources(files) == {"app/a.py", "app/b.py"}


CV2 = {
    "__init__.py": "def load(base):\n    for n in ['config.py', 'config-{}.{}.py'.format(*v)]:\n"
    "        exec(open(os.path.join(base, n)).read())\n",
    "config.py": "BINARIES = []",
    "config-3.11.py": "PATHS = []",
    "gapi/config.py": "x = 1",
    "other.py": "x = 1",
}


def test_sources_that_are_named_and_opened_stay() -> None:
    expected = {"__init__.py", "config.py", "config-3.11.py", "gapi/config.py"}
    assert sources(package("cv", CV2)) == {f"cv/{path}" for path in expected}


def test_a_source_that_is_named_by_its_place_stays() -> None:
    files = {"__init__.py": "v = 1", "b/__init__.py": "", "b/c.py": "x = 1"}
    files["b/version.py"] = "open(join(here, '../__init__.py'))"
    assert sources(package("pkg", files)) == {"pkg/__init__.py", "pkg/b/version.py"}


def test_only_those_of_the_same_distribution() -> None:
    assert "b/config.py" not in sources(package("cv", CV2), package("b", {"config.py": ""}))


LISTING = "def names(place):\n    return [n for n in os.listdir(place) if n.endswith('.py')]\n"


def test_sources_beside_code_that_lists_them_stay() -> None:
    files = {
        "__init__.py": "",
        "plugins/__init__.py": f"{LISTING}for n in names(dirname(__file__)): import_module(n)",
        "plugins/a.py": "x = 1",
        "plugins/deep/b.py": "x = 1",
        "core.py": "x = 1",
    }
    expected = {"plugins/__init__.py", "plugins/a.py", "plugins/deep/b.py"}
    assert sources(package("pkg", files)) == {f"pkg/{path}" for path in expected}


def test_sources_beside_code_that_has_them_listed_stay() -> None:
    """The lazy imports of transformers: a function elsewhere is given `__file__`."""
    files = {
        "__init__.py": "",
        "utils.py": f"{LISTING}def structure(place):\n    return [open(n) for n in names(place)]\n",
        "models/__init__.py": "from ..utils import structure\nstructure(Path(__file__).parent)",
        "models/a.py": "x = 1",
        "core.py": "x = 1",
    }
    expected = {"utils.py", "models/__init__.py", "models/a.py"}
    assert sources(package("pkg", files)) == {f"pkg/{path}" for path in expected}


def test_sources_in_a_directory_that_is_named_and_climbed_to_stay() -> None:
    text = "HERE = Path(__file__).parent.parent / 'plugins'\n[p for p in HERE.glob('*.py')]\n"
    files = {"core/loader.py": text, "core/x.py": "", "plugins/a.py": "", "other/b.py": ""}
    found = sources(package("pkg", {"__init__.py": "", **files}))
    assert found == {"pkg/core/loader.py", "pkg/core/x.py", "pkg/plugins/a.py"}


def test_the_users_own_code_needs_no_anchor() -> None:
    """It starts in the directory of the package."""
    own = {"app.py": "[n for n in os.listdir('plugins') if n.endswith('.py')]", "plugins/a.py": ""}
    assert sources(own, package("pkg", {"__init__.py": ""})) == {"app.py", "plugins/a.py"}


def test_what_the_user_gives_to_readers_of_sources_stays() -> None:
    """A library, or one that it requires, reads the source of the function that it is given."""
    reader = dist("reading", files={"reading.py": "import inspect\ninspect.getsource(f)\n"})
    front = dist("front", files={"front.py": "import reading\n"}, requires=["reading>=1"])
    own = {"app.py": "import front\nfront.call(f)\n", "b.py": "x = 1\n"}
    assert sources(own, reader, front) == {"reading.py", "app.py"}


def test_path_configuration_files_are_code_too() -> None:
    line = "import sys; exec(open(sys.path[0] + '/boot.py').read())\n"
    files = dist("lib", files={"lib.pth": line, "boot.py": "x = 1\n", "lib.py": "x = 1\n"})
    assert "boot.py" in sources(files)


def test_code_that_lists_what_it_is_given_keeps_nothing() -> None:
    """A reloader or an extractor of messages: it works on the user's project."""
    files = {"__init__.py": "", "reloader.py": LISTING, "a.py": "x = 1"}
    assert sources(package("pkg", files)) == set()


def test_functions_whose_compiled_code_is_cached_need_their_source() -> None:
    own = {"app.py": "from numba import njit\n@njit(cache=True)\ndef f(x): ...", "b.py": "x = 1"}
    library = {"__init__.py": "", "beat.py": "import numba\n@numba.jit(cache=True)\ndef f(x): ..."}
    found = sources(own, package("rosa", library))
    assert found == {"app.py", "rosa/beat.py"}


def test_docstrings_of_attributes_need_the_sources_of_all_that_may_inherit() -> None:
    files = {
        "base.py": "class Base(BaseModel):\n    model_config = {'use_attribute_docstrings': True}",
        "models.py": "class M(Base):\n    x: int\n    '''The x.'''",
    }
    assert sources(package("pkg", files)) == {"pkg/base.py", "pkg/models.py"}


def run(files: Item, *passes: Pass, **options: Any) -> Result:  # noqa: ANN401 - of a pipeline
    return Pipeline(passes, **options).run(tree_from(files))


def test_what_is_kept_is_reported_with_its_reason_and_loads_as_fast() -> None:
    result = run(package("cv", CV2), PromoteBytecode(PYTHON))
    reasons = {kept.path: kept.reason for kept in result.kept}
    assert reasons["cv/config.py"] == "cv/__init__.py names config.py"
    assert {"cv/config.py", cache_path("cv/config.py"), "cv/other.pyc"} <= set(result.after)
    assert "cv/other.py" not in result.after


def test_the_scan_can_be_left_out() -> None:
    result = run(package("cv", CV2), PromoteBytecode(PYTHON), hazards=False)
    assert "cv/config.pyc" in result.after


def test_rules_and_the_scan_are_independent() -> None:
    result = run(package("cv", CV2), PromoteBytecode(PYTHON), knowledge=Knowledge())
    assert "cv/config.py" in result.after


@pytest.mark.parametrize("name", ["cv", "numba", "transformers", "own"])
def test_slimming_twice_finds_the_same(name: str) -> None:
    trees = {
        "cv": tree_from(package("cv", CV2)),
        "numba": tree_from({"app.py": "import numba\n@numba.njit(cache=True)\ndef f(x): ...\n"}),
        "transformers": tree_from(
            package(
                "pkg",
                {
                    "utils.py": f"{LISTING}",
                    "models/__init__.py": "from ..utils import names\nnames(__file__)\n",
                    "models/a.py": "x = 1\n",
                    "core.py": "x = 1\n",
                },
            )
        ),
        "own": tree_from({"app.py": "import inspect\ninspect.getsource\n", "b.py": "x = 1\n"}),
    }
    pipeline = Pipeline(
        (StripTests(), StripMetadata(), PromoteBytecode(PYTHON), StripBytecode(PYTHON))
    )
    once = pipeline.run(trees[name])
    assert pipeline.run(once.after).changes == ()


def test_a_grammar_that_this_python_does_not_know_is_read_all_the_same() -> None:
    """The answer must not depend on who looks."""
    text = "type X = list[int]\nlazy import y\nasync def f[T](x: T): return open(__file__)\n"
    assert sources(package("pkg", {"a.py": text, "b.py": ""})) == {"pkg/a.py"}


# Tests, metadata, stubs.


def test_files_below_tests_that_code_names_stay_alone() -> None:
    files = {
        "__init__.py": "",
        "data.py": "PLACE = join(dirname(__file__), 'tests', 'data', 'x.csv')",
        "tests/__init__.py": "",
        "tests/data/x.csv": "1",
        "tests/data/y.csv": "2",
    }
    result = run(package("pkg", files), StripTests())
    assert [path for path in result.after if "tests" in path] == ["pkg/tests/data/x.csv"]
    assert "pkg/data.py names tests/data/x.csv" in {kept.reason for kept in result.kept}
    everything = run(package("pkg", files), StripTests(), hazards=False)
    assert not [path for path in everything.after if "tests" in path]


ASKING = {
    "by name": ("from importlib.metadata import version\nversion('b')", {"b"}),
    "its own": ("import importlib.metadata as m\nm.version(__name__)", {"a"}),
    "any": ("import importlib.metadata as m\nm.version(name)", {"a", "b", "c"}),
    "group": ("import importlib.metadata as m\nm.entry_points(group='g')", {"c"}),
    "nothing": ("x = 1", set()),
}


@pytest.mark.parametrize("asking", ASKING)
def test_metadata_that_code_asks_for_is_cut_and_not_removed(asking: str) -> None:
    source, expected = ASKING[asking]
    third = dist("c", entry_points="[g]\nx = c:f\n")
    tree = tree_from(dist("a", files={"a/__init__.py": source}), dist("b"), third)
    after = Pipeline((StripMetadata(keep="none"),)).run(tree).after
    assert {path.partition("-")[0] for path in after if path.endswith("METADATA")} == expected
    for path in after:
        assert not path.endswith(("RECORD", "INSTALLER"))
    nothing = Pipeline((StripMetadata(keep="none"),), hazards=False).run(tree).after
    assert not [path for path in nothing if "dist-info" in path]


def test_rare_metadata_that_code_reads_stays() -> None:
    source = "import importlib.metadata as m\nm.distribution('a').read_text('direct_url.json')"
    result = run(dist("a", files={"a/__init__.py": source}), StripMetadata())
    assert "a-1.0.dist-info/direct_url.json" in result.after
    assert "a-1.0.dist-info/INSTALLER" not in result.after


def test_stubs_that_are_read_at_run_time() -> None:
    source = "import lazy_loader as lazy\n__getattr__, *_ = lazy.attach_stub(__name__, __file__)"
    files = {"__init__.py": source, "__init__.pyi": "from . import a", "a.py": "", "a.pyi": ""}
    assert set(hazards(package("pkg", files)).stubs) == {"pkg/__init__.pyi"}


@pytest.mark.parametrize("spoken_of", [False, True])
def test_what_a_conftest_names_matters_only_if_code_speaks_of_it(spoken_of: bool) -> None:  # noqa: FBT001
    library = {
        "__init__.py": "from lib.conftest import x\n" if spoken_of else "",
        "conftest.py": "open('a.py')\n",
        "a.py": "x = 1\n",
    }
    tree = tree_from(dist("lib", files={f"lib/{name}": text for name, text in library.items()}))
    needs = Hazards(tree, Distributions.read(tree)).sources
    assert ("lib/a.py" in needs) == spoken_of
