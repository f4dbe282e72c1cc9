"""What came out of an export, as EXPORT_REPORT holds it: read by the command, the card and the benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from contract.errors import CorruptArtifact
from contract.manifest import Json
from distill.shipping.forms import FORMS, TITLES
from distill.shipping.latency import Latency
from distill.shipping.lineage import Ancestor

EXPORT_REPORT = "export.json"
TEACHER = "teacher"


@dataclass(frozen=True)
class FormFacts:
    """A form, or the teacher: size, metrics on the test split, latency; how far a logit is at most from torch's."""

    megabytes: float
    metrics: Mapping[str, float]
    latency: Latency
    distance: float | None = None


@dataclass(frozen=True)
class Export:
    """An exported folder. `forms` are by name, the teacher among them where its artifact was there to be timed."""

    run: str
    run_id: str
    decides: str  # the metric
    test_rows: int
    timed_texts: int
    processor: str
    opened_by_transformers: bool  # a static student is not
    inputs: tuple[str, ...]  # what the ONNX forms are given
    forms: Mapping[str, FormFacts]
    lineage: tuple[Ancestor, ...]
    licences: Mapping[str, str]
    languages: tuple[str, ...]

    def faster(self, name: str) -> float | None:
        """How many times as fast as the teacher, by the middle text."""
        teacher = self.forms.get(TEACHER)
        return teacher.latency.p50 / self.forms[name].latency.p50 if teacher and name != TEACHER else None

    @property
    def rows(self) -> list[tuple[str, str, FormFacts]]:
        """(name, title, facts) in the order they are shown: the teacher, then the forms."""
        titles: dict[str, str] = {TEACHER: "teacher, torch float32", **{name: TITLES[name] for name in FORMS}}
        return [(name, title, self.forms[name]) for name, title in titles.items() if name in self.forms]


def export_to_json(export: Export) -> dict[str, Json]:
    return asdict(export)


def write_export(export: Export, folder: Path) -> None:
    written = json.dumps(export_to_json(export), ensure_ascii=False, indent=2, allow_nan=False)
    (folder / EXPORT_REPORT).write_text(written + "\n", encoding="utf-8")


def read_export(folder: Path) -> Export:
    """The outcome of an exported folder; CorruptArtifact when it is not one this version reads."""
    path = folder / EXPORT_REPORT
    try:
        raw = json.loads(path.read_bytes())
        forms = {
            name: FormFacts(**{**facts, "latency": Latency(**facts["latency"])}) for name, facts in raw["forms"].items()
        }
        lineage = tuple(Ancestor(**each) for each in raw["lineage"])
        lists = {name: tuple(raw[name]) for name in ("inputs", "languages")}
        return Export(**{**raw, **lists, "forms": forms, "lineage": lineage})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorruptArtifact(
            f"{path} does not say what was exported ({type(error).__name__}: {error}); export the run again"
        ) from error
