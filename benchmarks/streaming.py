"""How the memory of a run grows with its transfer set: all of a run, from texts to the finetuned student.

    python -m benchmarks.streaming --rows 10000 1000000

A row is an utterance with its neighbours, made here of made-up words, all texts different. A tiny teacher of 150
classes labels them all (it is fast; what it says is of no matter), a 2 x 128 student learns for a few updates. Every
size runs in a process of its own, which looks at its memory whenever the run tells how far it is. "resident" counts
pages of mapped files too, which the system takes back when something else needs them; "anonymous" is what it cannot
take back. A run on a few rows, which is libraries and models alone, is measured first and subtracted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from contract.artifact import write_shard
from contract.draft import Plan, drafting
from contract.schemas import TRANSFER_SET
from contract.store import Store

CLASSES, WORDS, TRAIN, TEST = 150, 20_000, 3_000, 300
SHARD_ROWS = 20_000
MODELS = 200  # rows of the transfer set with which the models alone are measured


def main() -> None:
    options = _options()
    if options.stage:
        print(json.dumps({"make": _make, "run": _run}[options.stage](options)))
        return
    print(f"{options.neighbours} neighbours a row, {options.updates} updates, load {os.getloadavg()[0]:.1f}")
    print(
        "| rows | texts | seconds | peak resident MB | beside the models | peak anonymous MB | beside the models |\n"
        "|--:|--:|--:|--:|--:|--:|--:|"
    )
    alone: dict[str, Any] = {}
    for rows in (MODELS, *options.rows):
        with tempfile.TemporaryDirectory(prefix="streaming-", dir=options.scratch) as folder:
            _in_a_process(options, "make", rows, folder)
            found = _in_a_process(options, "run", rows, folder)
        alone = alone or found
        beside = {name: found[name] - alone[name] for name in ("resident", "anonymous")}
        print(
            f"| {rows:,} | {found['texts']:,} | {found['seconds']:.0f} | {found['resident']:,.0f} | "
            f"{beside['resident']:,.0f} | {found['anonymous']:,.0f} | {beside['anonymous']:,.0f} |",
            flush=True,
        )
    print("\n| stage of the last | peak resident MB | peak anonymous MB |\n|---|--:|--:|")
    for stage, (resident, anonymous) in found["stages"].items():
        print(f"| {stage} | {resident:,.0f} | {anonymous:,.0f} |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000], help="sizes of transfer sets")
    parser.add_argument("--neighbours", type=int, default=1)
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--scratch", type=Path, help="where to put what is built [default: the system's place]")
    parser.add_argument("--stage", choices=("make", "run"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_a_process(options: argparse.Namespace, stage: str, rows: int, folder: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.streaming", "--stage", stage, "--folder", folder]
    command += ["--rows", str(rows), "--neighbours", str(options.neighbours), "--updates", str(options.updates)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _make(options: argparse.Namespace) -> dict[str, Any]:
    """The transfer set, the task, and the encoder that becomes the teacher."""
    (rows,), each = options.rows, options.neighbours + 1
    with drafting(Store(options.folder).path("transfer-set", "made"), Plan("transfer-set", 1, {"rows": rows})) as draft:
        for start in range(0, rows, SHARD_ROWS):
            stop = min(start + SHARD_ROWS, rows)
            texts = _texts(start * each, stop * each)
            made = [_row(number, texts[(number - start) * each :][:each]) for number in range(start, stop)]
            write_shard(draft, f"part-{start // SHARD_ROWS:05d}", pa.Table.from_pylist(made, TRANSFER_SET))
        draft.finish()
    task = [
        {"id": f"{split}-{number}", "text": text, "intent": f"i{number % CLASSES}", "split": split}
        for split, first, size in (("train", -TRAIN, TRAIN), ("test", -TRAIN - TEST, TEST))
        for number, text in enumerate(_texts(first, first + size))
    ]
    (options.folder / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in task))
    _make_encoder(options.folder / "encoder")
    return {}


def _texts(start: int, stop: int) -> list[str]:
    """Texts start … stop-1: four to eleven words by chance, and two that make it another than all others."""
    draw = np.random.default_rng(abs(start))
    lengths = draw.integers(4, 12, stop - start)
    words = (_word(number) for number in draw.zipf(1.3, int(lengths.sum())) % WORDS)
    return [
        " ".join([*(next(words) for _ in range(length)), *(_word(part) for part in divmod(number + 10**7, WORDS))])
        for number, length in zip(range(start, stop), lengths.tolist(), strict=True)
    ]


def _word(number: int) -> str:
    return f"w{int(number)}"


def _row(number: int, texts: list[str]) -> dict[str, Any]:
    empty = dict.fromkeys(("text_pair", "label", "intent", "domain", "tokens", "slots", "lang"))
    found = [
        {"passage_id": f"p{number}-{rank}", "text": text, "source": "made", "retriever": "lexical", "rank": rank}
        for rank, text in enumerate(texts[1:])
    ]
    own = {"utterance_id": f"u{number}", "text": texts[0], "include_utterance": True, "neighbours": found}
    return {**empty, **own}


def _make_encoder(directory: Path) -> None:
    """A BERT of one small layer that knows every made-up word."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: number for number, word in enumerate([*specials, *map(_word, range(WORDS))])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")}
    PreTrainedTokenizerFast(tokenizer_object=inner, **names).save_pretrained(directory)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **sizes)
    BertModel(config, add_pooling_layer=False).save_pretrained(directory)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    """The run, and the most memory it took."""
    from distill.config import make_config
    from distill.pipeline import run_distillation
    from distill.reporting.outcome import read_report

    config = make_config(
        {
            "task": {"path": str(options.folder / "task.jsonl")},
            "transfer_set": {"name": "made"},
            "teacher": {"model": str(options.folder / "encoder"), "updates": 20, "max_length": 32},
            "student": {"layers": 2, "width": 128, "max_length": 32},
            "distill": {"updates": options.updates},
            "finetune": {"updates": 10},
        }
    )
    stages: dict[str, tuple[float, float]] = {}

    def watch(stage: str, done: int, total: int | None) -> None:  # noqa: ARG001
        resident, anonymous = _memory("VmRSS"), _memory("RssAnon")
        before = stages.get(stage, (0.0, 0.0))
        stages[stage] = max(before[0], resident), max(before[1], anonymous)

    started = time.perf_counter()
    run = run_distillation(Store(options.folder), "run", config, progress=watch)
    seconds = time.perf_counter() - started
    facts = read_report(run.directory).transfer_set
    return {
        "texts": facts.texts if facts else 0,
        "seconds": seconds,
        "resident": _memory("VmHWM"),
        "anonymous": max(anonymous for _, anonymous in stages.values()),
        "stages": stages,
    }


def _memory(field: str) -> float:
    """A line of what the system tells of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    main()
