"""The meaning of a student's numbers: its classes, tags and threshold, and how much of a text it reads.

Read off a run's directory; written as MEANING into an exported folder, which must say the same without the run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from contract.artifact import Artifact
from contract.errors import CorruptArtifact
from contract.manifest import Json
from distill.judging.threshold import THRESHOLD
from distill.reporting.outcome import read_report
from distill.settings.task import Kind

MEANING = "meaning.json"
STUDENT = "student"  # the folder of a run's student
KEPT_IN_SCOPE = 0.95  # the share of test rows in scope that the threshold keeps, where the run chose none


@dataclass(frozen=True)
class Meaning:
    """`classes` are a sentence's, `tags` a word's, in the order of the logits.

    A text whose highest probability is below `threshold` is of no class. `pairs` is None where an older run's report
    does not say whether the task is of pairs.
    """

    kind: Kind
    target: str
    max_length: int
    pad: int
    classes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    threshold: float | None = None
    pairs: bool | None = None


def meaning_of_run(run: Artifact) -> Meaning:
    """The meaning of a finished run's student; CorruptArtifact when its files do not tell."""
    report = read_report(run.directory)
    config, tokenizer = (_json_of(run, f"{STUDENT}/{name}") for name in ("config.json", "tokenizer_config.json"))
    kind = report.task.kind
    try:
        names = [config["id2label"][str(index)] for index in range(len(config["id2label"]))]
        has_tags = kind in ("slots", "joint")
        return Meaning(
            kind=kind,
            target=report.task.target,
            max_length=int(tokenizer["model_max_length"]),
            pad=int(config["pad_token_id"]),
            classes=tuple(config["sentence_labels"] if kind == "joint" else () if _is_bare(kind) else names),
            tags=tuple(names) if has_tags else (),
            threshold=_threshold(run, config.get(THRESHOLD)) if kind == "out-of-scope" else None,
            pairs=report.task.pairs,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptArtifact(
            f"The student of {run.directory} does not say what its outputs are ({type(error).__name__}: {error}); "
            "distil the run again"
        ) from error


def write_meaning(meaning: Meaning, folder: Path) -> None:
    written = json.dumps(asdict(meaning), ensure_ascii=False, indent=1, allow_nan=False)
    (folder / MEANING).write_text(written + "\n", encoding="utf-8")


def read_meaning(path: Path) -> Meaning:
    """The meaning an exported folder has written down."""
    try:
        raw: Mapping[str, Any] = json.loads(path.read_bytes())
        return Meaning(**{**raw, "classes": tuple(raw["classes"]), "tags": tuple(raw["tags"])})
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptArtifact(
            f"{path} does not say what the student's outputs are ({error}); export the run again"
        ) from error


def _is_bare(kind: Kind) -> bool:
    """Whether a sentence has no classes."""
    return kind in ("regression", "slots")


def _json_of(run: Artifact, name: str) -> Json:
    return json.loads(run.path(name).read_bytes())


def _threshold(run: Artifact, chosen: float | None) -> float:
    """The run's own, chosen on its validation split; else the highest at which KEPT_IN_SCOPE of the test rows stay.

    Of the latter no row out of scope has a say in it.
    """
    if chosen is not None:
        return float(chosen)
    from distill.judging.predictions import PREDICTIONS_FILE  # it loads scikit-learn

    table = pq.read_table(run.path(PREDICTIONS_FILE), columns=["confidence", "in_scope"])
    inside = np.sort(table["confidence"].to_numpy()[table["in_scope"].to_numpy(zero_copy_only=False)])
    return float(inside[int(len(inside) * (1 - KEPT_IN_SCOPE))])
