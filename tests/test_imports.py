"""Which way the arrows point: import-linter's contracts, and each package without the other side's libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]

# Imports the modules named in the arguments after refusing, as if not installed, all but the standard library and
# `only` (when given), and everything in `absent`.
IMPORT_WITHOUT = """
import importlib, sys

only, absent, *modules = sys.argv[1:]

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        is_standard = top in sys.stdlib_module_names or top.startswith("_sysconfigdata")
        is_known = not only or is_standard or top in only.split(",")
        if top in absent.split(",") or not is_known:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
for module in modules:
    importlib.import_module(module)
"""


def modules_of(package: str) -> list[str]:
    """Every module of a package, but for `__main__`, which does what it says when it is imported."""
    paths = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if path.name != "__main__.py"]
    assert names, package
    return [name.removesuffix(".__init__") for name in names]


def import_without(modules: list[str], *, absent: str = "", only: str = "") -> str:
    """What a new interpreter has to say when it imports `modules`; nothing when all is well."""
    command = [sys.executable, "-c", IMPORT_WITHOUT, only, absent, *modules]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stderr


def test_every_import_rule_is_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    code = lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True)
    assert code == 0, capsys.readouterr().out


def test_the_contract_needs_pyarrow_and_the_standard_library_only() -> None:
    modules = [name for name in modules_of("contract") if name != "contract.console"]
    assert import_without(modules, only="contract,pyarrow") == ""


def test_the_console_needs_typer_and_rich_besides() -> None:
    known = "contract,pyarrow,typer,rich,shellingham,annotated_doc,click,typing_extensions,markdown_it,mdurl,pygments"
    assert import_without(["contract.console"], only=known) == ""


@pytest.mark.parametrize(
    ("package", "absent"),
    [
        ("indexer", "service,distill,fastapi,starlette,uvicorn,dbos,matplotlib"),
        ("service", "distill,matplotlib"),
        ("distill", "indexer,service,faiss,numba,rank_bm25,bm25s,Stemmer,fastapi,starlette,uvicorn,dbos"),
    ],
)
def test_each_package_is_imported_with_the_other_sides_libraries_absent(package: str, absent: str) -> None:
    assert import_without(modules_of(package), absent=absent) == ""


def test_a_distill_worker_needs_no_library_of_the_index_or_of_http_serving() -> None:
    """What `transferset worker --queues distill` loads, in a container that has [distill,jobs] alone."""
    absent = "indexer,service,faiss,numba,rank_bm25,bm25s,Stemmer,sentence_transformers,fastapi,starlette,uvicorn"
    modules = ["jobs.cli", "jobs.process", "distill.worker", "distill.exchange.api", "distill.exchange.folder"]
    assert import_without(modules, absent=absent) == ""


def test_the_commands_help_loads_no_heavy_library() -> None:
    """`transferset --help` answers at once: torch and its like are loaded by the commands that use them."""
    heavy = "torch,transformers,sentence_transformers,faiss,numba,sklearn,matplotlib,fastapi,dbos"
    assert import_without(["transferset"], absent=heavy) == ""


def test_what_is_absent_is_indeed_refused() -> None:
    assert "No module named 'typer'" in import_without(["contract.console"], absent="typer")
    assert "No module named 'typer'" in import_without(["contract.console"], only="contract,pyarrow")
