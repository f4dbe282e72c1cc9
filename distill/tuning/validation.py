"""What trials are judged on: the task's valid split, or a share of its training rows held back. Never its test."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from contract.artifact import Artifact, write_parquet, write_shard
from contract.draft import Plan
from contract.errors import BadInput
from contract.manifest import Json, Kind, move_into_place
from contract.progress import silent
from contract.rows import refuse_bad_rows
from contract.schemas import TRANSFER_SET
from contract.store import Store, check_name
from contract.task import read_task
from distill.config import RunConfig
from distill.reading.gold import read_gold
from distill.reading.texts import TRANSFER_SET_VERSION, open_transfer_set, text_id
from distill.settings.task import Splits
from distill.shared import drafting_shared

VALID = ("valid", "validation", "dev")


@dataclass(frozen=True)
class Validation:
    """Splits of the task, or (`share`) what is held back of the training rows."""

    split: Splits
    share: float | None = None

    @property
    def text(self) -> str:
        splits = self.split if isinstance(self.split, str) else "+".join(self.split)
        return f"split {splits}" if self.share is None else f"{self.share:.0%} of the training rows, held back"


def choose_validation(config: RunConfig, split: str | None, share: float | None) -> Validation:
    """The split asked for, the share asked for, or the task's own valid split; BadInput where there is none of them.

    The run's validation split is that one, unless the run looks at it to stop early: then trials must not.
    """
    if share is not None and split is not None:
        raise BadInput("--valid-split and --hold-back both say what trials are judged on; leave one out")
    if share is not None:
        if not 0 < share < 1:
            raise BadInput(f"--hold-back: expected a share between 0 and 1, as in 0.2, found {share}")
        if config.stops_early:
            raise BadInput(
                "--hold-back makes a task of the training rows alone, without the split that patience looks at; "
                "leave patience out, or judge trials on another split with --valid-split"
            )
        return Validation("valid", share)
    task = read_task(
        config.task.path,
        columns=config.task.columns,
        on_bad_row=(lambda _: None) if config.task.skip_bad_rows else refuse_bad_rows,
    )
    own = config.task.validation_splits
    used = {*config.task.train_splits, *config.task.test_splits, *(own if config.stops_early else ())}
    if split in used:
        raise BadInput(f"--valid-split: the run trains or tests on {split!r}; expected a split that it does not see")
    if split is None and own and not config.stops_early:
        return Validation(own)
    chosen = split or next((name for name in VALID if name in task.splits and name not in used), None)
    if chosen is None:
        raise BadInput(
            f"Task {task.name} has no split {', '.join(VALID[:-1])} or {VALID[-1]} to judge trials on beside its test, "
            f"found {', '.join(task.splits)}; hold back a share of its training rows with --hold-back 0.2"
        )
    task.split(chosen)
    return Validation(chosen)


class TrialStore(Store):
    """The store as a trial sees it: its runs, and what was held back from, lie in the study's folder."""

    def __init__(self, root: Path, folder: Path, *, held_back: bool = False) -> None:
        super().__init__(root)
        self._folder = folder
        self._held_back = held_back

    def path(self, kind: Kind, name: str, version: int = 1) -> Path:
        if kind == "run" or (kind == "transfer-set" and self._held_back):
            return self._folder / f"{kind}s" / check_name(kind, name)
        return super().path(kind, name, version)


def judged_config(
    config: RunConfig, validation: Validation, store: Store, folder: Path, transfer_sets: tuple[str, ...]
) -> tuple[RunConfig, TrialStore]:
    """The run as trials make it, and the store they make it in: where rows are held back, the task anew in `folder`."""
    early = config.task.validation_split if config.stops_early else None  # a threshold is not chosen in a trial
    if validation.share is None:
        task = config.task.model_copy(update={"test_split": validation.split, "validation_split": early})
        return config.model_copy(update={"task": task}), TrialStore(store.root, folder)
    gold = read_gold(config.task)
    rows = gold.train.table
    classes = gold.train.labels if gold.classes else [""] * rows.num_rows
    held = _drawn(classes, validation.share, config.task.seed)
    split = pa.array(["valid" if row in held else "train" for row in range(rows.num_rows)], pa.string())
    path = folder / f"{gold.task.name}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    write_parquet(rows.set_column(rows.schema.get_field_index("split"), rows.schema.field("split"), split), partial)
    move_into_place(partial, path)
    texts = {text_id(*gold.train.texts[row]) for row in held}
    trial_store = TrialStore(store.root, folder, held_back=True)
    for name in transfer_sets:
        _without(open_transfer_set(store, name), texts, trial_store.path("transfer-set", name))
    new: dict[str, Json] = {"path": path, "shots": None, "train_split": "train", "test_split": "valid", "columns": {},
                            "validation_split": None}  # fmt: skip
    return config.model_copy(update={"task": config.task.model_copy(update=new)}), trial_store


def _drawn(classes: list[str], share: float, seed: int) -> set[int]:
    """The rows to hold back: of every class that share, one left at least; BadInput when that is none."""
    members: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(classes):
        members[label].append(row)
    draw = random.Random(seed)
    held = {
        row
        for label in sorted(members)
        for row in draw.sample(members[label], min(round(share * len(members[label])), len(members[label]) - 1))
    }
    if not held:
        raise BadInput(
            f"--hold-back {share:g} of {len(classes)} training rows in {len(members)} classes leaves none to judge "
            "by; hold back more"
        )
    return held


def _without(transfer_set: Artifact, texts: set[str], directory: Path) -> None:
    """The transfer set without these texts, in `directory`."""
    params: dict[str, Json] = dict(transfer_set.manifest.params)
    plan = Plan("transfer-set", TRANSFER_SET_VERSION, params, {"transfer-set": transfer_set.id})
    with drafting_shared(directory, plan, progress=silent) as draft:
        if draft.finished:
            return
        for number, batch in enumerate(transfer_set.batches()):
            kept = pa.Table.from_pylist(list(_kept(batch, texts)), TRANSFER_SET)
            write_shard(draft, f"part-{number:05d}", kept)
        draft.finish()


def _kept(batch: pa.RecordBatch, texts: set[str]) -> Iterator[Mapping[str, Json]]:
    for row in batch.to_pylist():
        text, pair = row["text"], row["text_pair"]
        if text_id(text, pair) in texts:
            continue
        found = [
            neighbour
            for neighbour in row["neighbours"]
            if text_id(*((neighbour["text"], None) if pair is None else (text, neighbour["text"]))) not in texts
        ]
        yield {**row, "neighbours": found}
