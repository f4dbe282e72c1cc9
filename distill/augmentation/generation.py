"""A generation: a transfer set's texts once more, changed. An artifact in the transfer set's own form.

It is made once and shared by every run and seed, and the teacher labels it as it does a transfer set. Written and read
by distill. A row is an utterance's copy with those of its neighbours; what is not new is not there:

utterance_id, neighbours[].passage_id, rank, score …   of what it was made from
text, text_pair, neighbours[].text                     changed
tokens, slots                                          moved and left out with their words; null where words were lost
label, intent, domain                                  of the utterance: whether they still hold is for the user to say
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from contract.artifact import Artifact, open_artifact, write_shard
from contract.draft import Draft, Plan
from contract.errors import BadInput
from contract.manifest import Count, Json, canonical_json
from contract.progress import Progress
from contract.schemas import TRANSFER_SET
from contract.store import Store
from distill.augmentation.operations import Operation, identity_of, in_order, make_operations, needs_model
from distill.augmentation.wording import Wording, read_wording
from distill.models.device import Device
from distill.reading.gold import Gold
from distill.reading.slots import repair
from distill.reading.words import locate_words
from distill.settings.augmentation import AugmentationConfig
from distill.shared import drafting_shared

VERSION = 1
SHARD_ROWS = 512  # utterances with their neighbours

Row = dict[str, Any]  # of the TRANSFER_SET schema


@dataclass(frozen=True)
class HeldOut:
    """The test's texts, folded: neither case nor white space makes another text of one."""

    texts: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, gold: Gold) -> HeldOut:
        return cls(frozenset((_folded(text), _folded(pair)) for text, pair in gold.test.texts))

    def has(self, text: str, pair: str | None) -> bool:
        return (_folded(text), _folded(pair)) in self.texts


@dataclass
class Tally:
    """How many texts were asked for, and what became of those that are not there."""

    asked: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> Count:
        return Count(self.asked, self.asked - sum(self.dropped.values()), dict(sorted(self.dropped.items())))


def obtain_generation(
    store: Store,
    config: AugmentationConfig,
    number: int,
    transfer_set: Artifact,
    gold: Gold,
    device: Device,
    *,
    progress: Progress,
) -> Artifact:
    """Generation 0, 1, 2 … of a transfer set's texts: the one that is there, else made now, a shard at a time."""
    params: dict[str, Json] = {
        **config.model_dump(mode="json", include={"copies", "texts", "seed"}),
        "operations": identity_of(config.operations),
        "generation": number,
        "held_out": gold.test.identity,
        "shard_rows": SHARD_ROWS,
    }
    if needs_model(config.operations):
        params["dtype"] = device.dtype
    plan = Plan("augmentation", VERSION, params, {"transfer-set": transfer_set.id, "task": gold.task.id})
    directory = store.path("augmentation", hashlib.sha256(canonical_json(asdict(plan))).hexdigest()[:16])
    with drafting_shared(directory, plan, progress=progress) as draft:
        if not draft.finished:
            _make(draft, config, number, transfer_set, gold, device, progress)
            draft.finish()
    return open_artifact(directory, "augmentation", version=VERSION)


def _make(
    draft: Draft,
    config: AugmentationConfig,
    number: int,
    transfer_set: Artifact,
    gold: Gold,
    device: Device,
    progress: Progress,
) -> None:
    """Every copy of every shard; BadInput when nothing new came of any."""
    held_out = HeldOut.of(gold)
    operations: list[Operation] = []
    rows, made = transfer_set.rows, 0
    for copy in range(config.copies):
        for start in range(0, rows, SHARD_ROWS):
            step = f"copy-{copy:02d}-{start // SHARD_ROWS:06d}"
            receipt = draft.receipt(step)
            if receipt is None:
                operations = operations or make_operations(config.operations, device)
                tally = Tally()
                key = f"{config.seed}\0{number}\0{copy}"
                batches = transfer_set.batches(start=start, stop=start + SHARD_ROWS, batch_rows=SHARD_ROWS)
                read = [row for batch in batches for row in batch.to_pylist()]
                new = list(_changed(read, operations, key, config.texts, held_out, tally))
                table = pa.Table.from_pylist(new, TRANSFER_SET)
                receipt = write_shard(draft, step, table, counts={"texts": tally.count})
            made += receipt.counts["texts"].rows_out
            progress("augmenting", copy * rows + min(start + SHARD_ROWS, rows), config.copies * rows)
    if not made:
        raise BadInput(
            f"The augmentation made no new text of the {rows} rows of {transfer_set.directory.name}; raise the "
            "probabilities, or choose other operations or augmentation.texts"
        )


def _changed(
    rows: Sequence[Row], operations: Sequence[Operation], key: str, texts: str, held_out: HeldOut, tally: Tally
) -> Iterator[Row]:
    """The rows with their texts changed; those in which nothing is new are left out."""
    new = _new_wordings(rows, operations, key, texts)
    for index, row in enumerate(rows):
        changed = _with_utterance(row, new, index, held_out, tally)
        found = []
        for place, neighbour in enumerate(row["neighbours"] if texts != "utterances" else ()):
            text = new[index, f"neighbour {place}"].text
            pair = (changed["text"], text) if row["text_pair"] is not None else (text, None)
            if _is_new(text != neighbour["text"], pair, held_out, tally):
                found.append({**neighbour, "text": text})
        changed["neighbours"] = found
        if found or changed["include_utterance"]:
            yield changed


def _new_wordings(
    rows: Sequence[Row], operations: Sequence[Operation], key: str, texts: str
) -> Mapping[tuple[int, str], Wording]:
    """What became of each text by (row, which of its texts); all at once, since models like many."""
    before: dict[tuple[int, str], Wording] = {}
    for index, row in enumerate(rows):
        if row["include_utterance"] and texts != "neighbours":
            before[index, "text"] = read_wording(row["text"], row["tokens"])
            if row["text_pair"] is not None:
                before[index, "text_pair"] = read_wording(row["text_pair"])
        for place, neighbour in enumerate(row["neighbours"] if texts != "utterances" else ()):
            before[index, f"neighbour {place}"] = read_wording(neighbour["text"])
    draws = [_draws(key, which, wording.text) for (_, which), wording in before.items()]
    return dict(zip(before, in_order(operations, list(before.values()), draws), strict=True))


def _with_utterance(
    row: Row, new: Mapping[tuple[int, str], Wording], index: int, held_out: HeldOut, tally: Tally
) -> Row:
    """The row with its utterance changed, or without it."""
    wording, pair = new.get((index, "text")), new.get((index, "text_pair"))
    without = {**row, "include_utterance": False}
    if wording is None:
        return without
    changed = {**row, "text": wording.text, "text_pair": pair.text if pair else row["text_pair"]}
    both = (changed["text"], changed["text_pair"])
    if not _is_new(both != (row["text"], row["text_pair"]), both, held_out, tally):
        return without
    tokens, slots = row["tokens"], row["slots"]
    if not (wording.keeps_words and tokens and locate_words(row["text"], tokens)):
        return {**changed, "tokens": None, "slots": None}
    moved = repair([slots[origin] for origin in wording.origins]) if slots else None
    return {**changed, "tokens": list(wording.words), "slots": moved}


def _is_new(differs: bool, both: tuple[str, str | None], held_out: HeldOut, tally: Tally) -> bool:
    tally.asked += 1
    reason = None
    if not both[0].strip():
        reason = "empty"
    elif not differs:
        reason = "unchanged"
    elif held_out.has(*both):
        reason = "held_out"
    tally.dropped.update([reason] if reason else [])
    return reason is None


def _draws(key: str, which: str, text: str) -> random.Random:
    """The draws of one text: of the seed, the generation, the copy and itself, wherever it stands."""
    whole = f"{key}\0{which.partition(' ')[0]}\0{text}".encode("utf-8", "surrogatepass")
    return random.Random(int.from_bytes(hashlib.sha256(whole).digest()[:8], "big"))


def _folded(text: str | None) -> str:
    return " ".join((text or "").casefold().split())
