"""A small world that reads like a real one: passages, utterances and runs, for the browser to show."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from contract.draft import Plan, drafting
from contract.store import Store
from service.neighbours import Searching
from tests.service.fake_index import FakeHits, FakeIndex

# source, then passages; the words are plain so that a hashing encoder finds something in common
PASSAGES = {
    "dialogues": """
Please wake me up at seven tomorrow morning.
Set an alarm for six on weekdays and turn it off on Sunday.
Will you pick me up at seven tomorrow morning?
Play some quiet jazz while I cook dinner.
Put on the new record of the band we heard last night.
Turn the music down a little, the baby is asleep.
Book a table for two at a quiet restaurant in town tonight.
Do you have a table by the window for four at eight?
I would like to pay with my credit card, please.
My credit card was declined at the station this morning.
How do I order a new card when the old one is lost?
Transfer ninety dollars from my savings to my checking account.
What will the weather be like in Lisbon on Friday?
Will it rain tomorrow, or can we have the party in the garden?
Remind me to call my sister after lunch.
""",
    "encyclopedia": """
An alarm clock is a clock that is designed to alert a person at a specified time.
Jazz is a style of music that began in New Orleans in the early twentieth century.
A credit card lets its holder pay for goods on the promise to pay the bank later.
The weather of a place is the state of its air at a given time.
A restaurant is a business that prepares and serves food and drinks to guests.
Sleep is a state of the body in which the senses are less active than when awake.
A savings account is held at a bank and pays interest on what is left in it.
The morning is the part of the day between sunrise and noon.
""",
    "stories": """
She woke at seven, as she had every morning for thirty years, and did not get up.
They played the same song all night, and nobody asked them to stop.
The table by the window was taken by a man who read no newspaper.
It rained on Friday, and on Saturday, and on Sunday the river took the bridge.
He counted the money twice and put the card back into the drawer.
Tomorrow, said the old woman, is a place nobody has come back from.
""",
}
UTTERANCES = {  # the last of each is held out
    "alarm": """
wake me up at seven tomorrow
set an alarm for six on monday
turn off the alarm on sunday
wake me in an hour
""",
    "play_music": """
play some quiet jazz
put on a song by the band from last night
turn the music down
play something to sleep to
""",
    "new_card": """
how do i order a new credit card
my card is lost, send me a new one
i need another credit card
get me a new card
""",
    "weather": """
will it rain tomorrow
what is the weather like on friday
is it cold in lisbon
do i need a coat this morning
""",
}


def passages() -> list[tuple[str, str]]:
    """(source, text) of every passage."""
    return [(source, line) for source, lines in PASSAGES.items() for line in lines.strip().splitlines()]


def task_lines() -> bytes:
    """Three utterances an intent to train on, one to test with."""
    rows = [
        {"text": text, "intent": intent, "split": "test" if n == 3 else "train"}
        for intent, texts in UTTERANCES.items()
        for n, text in enumerate(texts.strip().splitlines())
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


class GalleryIndex(FakeIndex):
    """The fake index over these passages, with a hybrid retriever that fuses both rankings."""

    def __init__(self, extra: Sequence[str] = ()) -> None:
        self.sources = [source for source, _ in passages()] + ["extra"] * len(extra)
        texts = [text for _, text in passages()] + list(extra)
        super().__init__(texts, name="web", retrievers=("lexical", "dense", "hybrid"))

    def search(self, queries: Sequence[str], k: int, retriever: Searching, *, seed: int = 0) -> FakeHits:
        if retriever != "hybrid":
            return super().search(queries, k, retriever, seed=seed)
        scores = [self._lexical(queries), self._dense(queries)]
        orders = [np.argsort(-each, axis=1, kind="stable") for each in scores]
        ranks = [np.argsort(order, axis=1, kind="stable").astype(np.int32) for order in orders]
        fused = sum(1 / (60 + rank) for rank in ranks).astype(np.float32)
        rows = np.argsort(-fused, axis=1, kind="stable")[:, :k]
        taken = [
            np.take_along_axis(values, rows, axis=1) for values in (fused, ranks[0], scores[0], ranks[1], scores[1])
        ]
        return FakeHits(rows, *taken)

    def passages(self, rows: Any) -> pa.Table:
        table = super().passages(rows)
        sources = pa.array([self.sources[row] for row in rows], pa.string())
        return table.set_column(table.schema.get_field_index("source"), table.schema.field("source"), sources)


def make_index(store: Store, rows: int) -> None:
    """The finished directory of the index; the gallery's is opened in its place."""
    with drafting(store.path("index", "web"), Plan("index", 1, {"retrievers": ["dense", "lexical"]})) as draft:
        if draft.finished is None:
            draft.partial("postings.bin").write_bytes(b"postings")
            draft.keep("lexical", {"postings.bin": 3})
            draft.finish(facts={"rows": rows})


ARMS = {"retrieved": 0.825, "augmented": 0.821, "generic-random": 0.779, "task-only": 0.712, "no distillation": 0.697}


def report(run: str, arm: str, seed: int, accuracy: float, **task: Any) -> dict[str, Any]:
    """A run's report as distill writes it."""
    of_task = {
        "name": "home", "id": "b59b", "target": "intent", "classes": 4, "shots": 10, "train_rows": 1500,
        "test_rows": 4500, "test_split": "test", "unseen_labels": 0, "kind": "classes", "unseen_slots": 0,
    }  # fmt: skip
    texts = {"task-only": 1499, "augmented": 21_880}.get(arm, 21_906)
    of_set = {
        "name": f"home-{arm}", "id": "8c92", "retriever": "hybrid", "texts": texts, "utterances": 1499,
        "neighbours": texts - 1499, "generic_share": 1 - 1499 / texts,
    }  # fmt: skip
    scores = {"accuracy": accuracy, "macro_f1": accuracy - 0.004, "ece": 0.31 - accuracy / 4}
    return {
        "run": run,
        "arm": arm,
        "seed": seed,
        "task": of_task | task,
        "transfer_set": None if arm == "no distillation" else of_set,
        "teacher": {
            "model": "minilm", "id": "4be1", "parameters": 22_623_126, "ms_per_utterance": 7.87,
            "metrics": {"accuracy": 0.913, "macro_f1": 0.912},
        },
        "student": {"layers": 2, "width": 128, "heads": 2, "from": "scratch", "parameters": 4_347_926},
        "updates": {"distill": 2500, "finetune": 200},
        "metrics": {
            "distilled": None if arm == "no distillation" else {"accuracy": accuracy - 0.002, "macro_f1": accuracy},
            "finetuned": scores | {"agreement": accuracy + 0.03},
            "intervals": {"accuracy": [accuracy - 0.011, accuracy + 0.011]},
            "teacher_intervals": {"accuracy": [0.905, 0.921]},
            "by_language": [],
        },
        "ms_per_utterance": 0.688 + 0.05 * seed,
        "seconds": {"teacher": 0.4, "labels": 0.2, "distill": 67.0, "finetune": 3.7},
        "curves": {
            "distill": [{"update": 25 * n, "loss": 3.7 / n**0.6} for n in range(1, 101)],
            "finetune": [{"update": 2 * n, "loss": 0.08 / n**0.3} for n in range(1, 101)],
        },
        "settings": {"seed": seed, "task": {"name": "home", "shots": 10}},
    }  # fmt: skip


def reports() -> dict[str, dict[str, Any]]:
    """Three seeds of every arm, by the run's name."""
    draw = random.Random(5)
    made = {}
    for arm, accuracy in ARMS.items():
        for seed in range(3):
            name = f"home-{arm.replace(' ', '-')}-{seed}"
            made[name] = report(name, arm, seed, accuracy + draw.uniform(-0.006, 0.006))
    return made
