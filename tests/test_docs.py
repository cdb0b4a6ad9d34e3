"""The documentation: every block of code on its pages runs, its links and inclusions exist, nothing public is left out.

Blocks of a page run one after the other in one folder, and print what the page says (see `printed`).
"""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from printed import run_snippet, snippets

import fastprop as fp

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
NO_GALLERY = {"digits", "large_sgd"}  # scripts to copy from
SCRIPTS = [path for path in sorted((REPOSITORY / "examples").glob("*.py")) if path.stem not in NO_GALLERY]
SNIPPETS = [(name, snippet) for name, text in TEXTS.items() for snippet in snippets(text)]

pytestmark = pytest.mark.skipif(not PAGES, reason="needs the repository's docs/")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {page.stem: tmp_path_factory.mktemp(page.stem) for page in PAGES}


@pytest.mark.parametrize(
    ("page", "snippet"), SNIPPETS, ids=[f"{page}-{snippet.line}-{snippet.language}" for page, snippet in SNIPPETS]
)
def test_snippet(page, snippet, folders):
    run_snippet(snippet, folders[page])


# ---- pages ----------------------------------------------------------------------------------------------------------


def heading_anchors(text):
    """The anchors that MyST gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_links(page):
    """Files and headings that a page links exist; pages of the gallery are made of scripts."""
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", TEXTS[page]):
        path, _, anchor = link.partition("#")
        if script := re.fullmatch(r"gallery/(\w+)\.rst", path):
            assert script[1] == "index" or (REPOSITORY / "examples" / f"{script[1]}.py").is_file(), link
            continue
        target = DOCS / path if path else DOCS / f"{page}.md"
        assert target.exists(), link
        assert not anchor or anchor in heading_anchors(target.read_text(encoding="utf-8")), link


INCLUSION = re.compile(r"^```\{literalinclude\} (\S+)\n((?::.*\n)*)```$", re.MULTILINE)


@pytest.mark.parametrize("page", TEXTS)
def test_included_code(page):
    """What a page shows of the source is there, once where it is found by its text."""
    for path, options in INCLUSION.findall(TEXTS[page]):
        source = (DOCS / path).read_text(encoding="utf-8")
        given = dict(re.findall(r"^:([\w-]+): ?(.*)$", options, re.MULTILINE))
        assert given["caption"].split(",")[0] == path.removeprefix("../"), (page, path)
        if name := given.get("pyobject"):
            assert re.search(rf"^(?:class|def) {name}\b", source, re.MULTILINE), (page, path, name)
        for key in ("start-at", "start-after", "end-at", "end-before"):
            assert given.get(key, "").strip('"') in source, (page, path, given)


def test_every_inclusion_is_read():
    assert sum(text.count("{literalinclude}") for text in TEXTS.values()) == sum(
        len(INCLUSION.findall(text)) for text in TEXTS.values()
    )


def test_every_page_is_in_the_contents():
    contents = re.findall(r"```\{toctree\}\n(.*?)```", TEXTS["index"], re.DOTALL)
    lines = [line for block in contents for line in block.split("\n") if line and not line.startswith(":")]
    listed = {re.sub(r".*<(.+)>", r"\1", line) for line in lines}
    assert listed == set(TEXTS) - {"index"} | {"gallery/index"}


def test_functions_that_a_formula_may_call():
    """What the page on formulas of the reader's own lists, in one formula: it compiles and gives NumPy's values."""
    names = re.findall(r"`(np\.\w+|abs|min|max)`", TEXTS["own"].partition("## An activation")[0])
    two = {"np.copysign", "np.minimum", "np.maximum", "min", "max"}
    terms = [
        f"{name}({'t, 1.5' if name in two else 't > 1.0, t, 0.5' if name == 'np.where' else 't'})" for name in names
    ]
    assert len(terms) == 15, names
    made = {"np": np}
    exec(f"def value(self, z):\n    t = z * z + 0.25\n    return {' + '.join(terms)}\n", made)
    methods = {"value": made["value"], "derivative": lambda self, z, a: 1.0}
    everything = fp.activation(type("Everything", (), methods))
    z = np.linspace(-2.0, 2.0, 33)
    net = fp.Network(
        [fp.Dense(1, everything, init=np.ones((1, 1))), fp.Dense(1, init=np.ones((1, 1)))], dtype="float64"
    )
    made |= {"min": np.minimum, "max": np.maximum}
    np.testing.assert_allclose(net.build(1).predict(z[:, None]), made["value"](None, z), rtol=1e-12)


# ---- the reference --------------------------------------------------------------------------------------------------

MODULES = ("dask", "data", "diagnose", "plot")  # their __all__ is public; of other modules their own classes are


def public_names():
    """Names as the reference has them: "fastprop.Dense", "fastprop.losses.Huber"."""
    modules = {"dask", "data", "diagnose", "init", "losses", "plot", "schedules"}
    yield from (f"fastprop.{name}" for name in fp.__all__ if name not in modules)
    for name in MODULES:
        yield from (f"fastprop.{name}.{member}" for member in getattr(fp, name).__all__)
    for module in (fp.losses, fp.schedules, fp.init):
        own = {name for name, value in vars(module).items() if isinstance(value, type) and name[0] != "_"}
        own = {name for name in own if getattr(module, name).__module__ == module.__name__}
        yield from (f"{module.__name__}.{name}" for name in own - {"NotStored"})


def listed_names():
    """The names in the summaries of the reference."""
    for block in re.findall(r"```\{eval-rst\}\n(.*?)```", TEXTS["api"], re.DOTALL):
        module = re.search(r"currentmodule:: (\S+)", block)[1]
        yield from (f"{module}.{name}" for name in re.findall(r"^   (\w+)$", block, re.MULTILINE))


def test_everything_public_is_in_the_reference():
    listed = sorted(listed_names())
    assert listed == sorted(public_names())
    assert all(hasattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in listed)


# ---- the exercises --------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| (\d+[a-z]?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def test_the_table_of_exercises_has_no_gaps():
    numbers = [number for number, *_ in ROW.findall(TEXTS["exercises"])]
    assert numbers == [str(k + 1) for k in range(len(numbers))]
    assert len(numbers) == 26


def test_answers_and_their_tests_exist():
    for number, _, answer, test in ROW.findall(TEXTS["exercises"]):
        for script in re.findall(r"\[(\w+)\.py\]", answer):
            assert f"gallery/{script}.rst" in answer, number
            assert (REPOSITORY / "tests" / "gallery" / f"{script}.txt").is_file(), (number, script)
        assert "](" in answer, number
        for path, name in re.findall(r"`(test_\w+\.py)(?:::(\w+))?", test):
            text = (REPOSITORY / "tests" / path).read_text(encoding="utf-8")
            assert not name or f"def {name}(" in text, (number, name)
        assert "`" in test, number


# ---- the gallery's text ---------------------------------------------------------------------------------------------


def texts_of(script):
    """The docstring of a script and its cells of text."""
    source = script.read_text(encoding="utf-8")
    yield ast.get_docstring(ast.parse(source))
    for cell in re.findall(r"^# %%\n((?:#.*\n)*)", source, re.MULTILINE):
        yield "\n".join(line[2:] for line in cell.split("\n"))


@pytest.mark.quick
@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_text_of_the_gallery_is_read_without_warnings(script):
    """A bare |x| is a substitution in reStructuredText, for one; only the build of the documentation would tell."""
    core = pytest.importorskip("docutils.core")
    for text in texts_of(script):
        core.publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 5})


def formulas():
    """All formulas of the pages and of the gallery."""
    for text in TEXTS.values():
        yield from re.findall(r"^\$\$\n(.*?)\n\$\$$", text, re.MULTILINE | re.DOTALL)
        yield from re.findall(r"(?<![`$\w])\$([^$`\n]+)\$(?!\$)", text)
    core, nodes = pytest.importorskip("docutils.core"), pytest.importorskip("docutils.nodes")
    for script in SCRIPTS:
        for text in texts_of(script):
            tree = core.publish_doctree(text, settings_overrides={"report_level": 5})
            yield from (node.astext() for kind in (nodes.math, nodes.math_block) for node in tree.findall(kind))


def test_formulas_are_set_as_browsers_draw_them():
    """docutils makes labels under braces a subscript beside them, and aligned lines a table that needs our style."""
    tex2mathml = pytest.importorskip("docutils.utils.math.latex2mathml").tex2mathml
    classes = set()
    for formula in formulas():
        assert "brace{" not in formula, formula
        classes |= set(re.findall(r'<mtable class="([\w-]+)"', tex2mathml(formula, as_block=True)))
    style = (DOCS / "static" / "pages.css").read_text(encoding="utf-8")
    assert classes == {"ams-align"}
    assert all(f"mtable.{name} > mtr > mtd" in style for name in classes)


# ---- docstrings -----------------------------------------------------------------------------------------------------


def modules():
    """Every module of the package but its kernels, which hold no examples."""
    package = str(Path(fp.__file__).parent)  # not fp.__path__, which ends in the repository in a checkout
    for module in pkgutil.walk_packages([package], "fastprop."):
        if not module.name.startswith(("fastprop.kernels", "fastprop.__main__")):
            yield module.name


def examples_of(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        pytest.skip("torch is not installed")
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for test in finder.find(module, name) if test.examples]


@pytest.mark.parametrize("name", ["fastprop", *modules()])
def test_docstrings(name, tmp_path, monkeypatch):
    """Examples in docstrings run, in an empty folder, with data at hand as X and y and a network as net."""
    tests = examples_of(name)
    if not tests:
        return
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(64, 4)), rng.integers(0, 10, 64)
    np.save("X.npy", X)
    np.save("y.npy", y)
    for test in tests:
        net = fp.Network([fp.Dense(10)], loss="cross_entropy")
        test.globs |= {"fp": fp, "np": np, "X": X, "y": y, "net": net, **vars(fp)}
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        assert runner.run(test).failed == 0, test.name
