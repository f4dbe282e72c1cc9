"""The demo's generic corpus: the prose in the documentation strings of the Python packages on this machine.

Real sentences that every machine with the demo's packages has, without a download. Nothing is imported: files are
parsed, and one that does not parse is passed over.
"""

from __future__ import annotations

import ast
import json
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

# Where people who work with data would look things up; the standard library is `""`.
PACKAGES = ("", "matplotlib", "numpy", "pandas", "pyarrow", "sklearn", "sqlalchemy")

_ROLE = re.compile(r":[a-z:]+:`~?([^`<]+?)(?: *<[^`>]*>)?`")
_CODE = re.compile(r"``?([^`]+)``?")
_NOT_PROSE = re.compile(r"^\s*(>>>|\.\.|:\w|[-=~*#|+_]{3,}|\w[\w, *.]* : |@|\$)", re.MULTILINE)
_FIELD = re.compile(r"^\s*(\*{0,2}\w[\w, *.]* ?: [^\n]*|\w+ \([^)\n]*\):)\s*$", re.MULTILINE)
_PROSE = re.compile(r"[A-Z][^{}\\|<>=]{24,}[.?!]")


def write_docstrings(path: Path) -> int:
    """Write the passages as JSONL rows `id, text, source, lang` to `path`; how many there are."""
    count = 0
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        for package in PACKAGES:
            source = package or "python"
            for number, text in enumerate(_paragraphs_of(package)):
                row = {"id": f"{source}-{number}", "text": text, "source": source, "lang": "en"}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
    partial.replace(path)
    return count


def _paragraphs_of(package: str) -> Iterator[str]:
    root = Path(sysconfig.get_path("purelib") if package else sysconfig.get_path("stdlib"), package)
    for file in sorted(root.rglob("*.py")):
        if not {"tests", "test", "site-packages", "idlelib", "lib2to3", "_vendor"} & set(file.relative_to(root).parts):
            for docstring in _docstrings(file):
                yield from paragraphs(docstring)


def _docstrings(file: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError, RecursionError):
        return  # written for another Python
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring


def paragraphs(docstring: str) -> Iterator[str]:
    """The paragraphs of prose in a docstring: no examples, no signatures, no markup."""
    for block in re.split(r"\n\s*\n", _FIELD.sub("\n", docstring)):
        if _NOT_PROSE.search(block):
            continue
        text = " ".join(_CODE.sub(r"\1", _ROLE.sub(r"\1", block)).split())
        if _PROSE.fullmatch(text):
            yield text
