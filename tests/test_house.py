"""The house rules that a machine can see."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("contract", "jobs", "indexer", "service", "distill", "demo", "experiments")
SOURCES = [
    ROOT / "transferset.py",
    *(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))),
]
WITH_TESTS = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]
MODULES = [path for path in SOURCES if path.name != "__init__.py"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def calls_in(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a file, with the dotted name of what is called."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_file_opens_with_a_sentence(path: Path) -> None:
    opening = ast.get_docstring(tree_of(path))
    assert opening, "no docstring"
    assert re.search(r"[.:?]$", opening.split("\n\n")[0].strip()), f"no sentence: {opening.splitlines()[0]}"


def test_every_init_is_empty() -> None:
    full = [name_of(path) for path in WITH_TESTS if path.name == "__init__.py" and path.stat().st_size]
    assert full == []


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_file_is_called_utils_or_helpers_or_common() -> None:
    assert [name_of(path) for path in WITH_TESTS if re.search(r"util|helper|common|misc", path.stem)] == []


def test_no_pickle_is_read_or_written() -> None:
    modules = {"pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
    calls = {"torch.load", "torch.save"}
    found = []
    for path in SOURCES:  # a test may write one, to see that it is not read
        text = path.read_text(encoding="utf-8")
        imported = set(re.findall(r"^\s*(?:import|from)\s+(\w+)", text, flags=re.MULTILINE))
        found += [f"{name_of(path)}: {module}" for module in sorted(modules & imported)]
        found += [f"{name_of(path)}:{call.lineno}: {name}" for name, call in calls_in(path) if name in calls]
    assert found == []


@pytest.mark.parametrize("option", ["allow_pickle", "trust_remote_code"])
def test_no_call_trusts_what_it_reads(option: str) -> None:
    trusting = [
        f"{name_of(path)}:{call.lineno}: {name}"
        for path in WITH_TESTS
        for name, call in calls_in(path)
        for keyword in call.keywords
        if keyword.arg == option and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]
    assert trusting == []


def test_only_commands_print() -> None:
    speakers = {
        "contract/console.py",
        *(name_of(path) for path in SOURCES if path.name.endswith("cli.py")),
        "transferset.py",
    }
    printing = {
        name_of(path)
        for path in SOURCES
        if not name_of(path).startswith("demo/")  # it is a command from end to end
        for name, _ in calls_in(path)
        if name == "print"
    }
    assert printing - speakers == set()


def test_only_the_commands_know_the_console() -> None:
    rooms = [path for path in SOURCES if path.parent.name in ("contract", "indexer", "service", "distill")]
    knowing = [
        path
        for path in rooms
        if re.search(r"^\s*from contract\.console", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert {path.name for path in knowing if not path.name.endswith("cli.py")} <= {"__main__.py", "shown.py"}


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_the_readme_names_the_two_commands(command: str) -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("README.md is written last")
    assert command in readme.read_text(encoding="utf-8")


@pytest.mark.parametrize("package", ["contract", "indexer", "service", "distill"])
def test_every_package_has_its_tests(package: str) -> None:
    assert list((ROOT / "tests" / package).glob("test_*.py"))
