"""A world small enough to learn in a second: an encoder, a task of four intents, transfer sets, and their config."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from contract.artifact import Artifact, open_artifact, write_shard
from contract.draft import Plan, drafting
from contract.schemas import NEIGHBOUR, TRANSFER_SET
from contract.store import Store
from distill.config import RunConfig, make_config
from distill.models.pretrained import quiet

TOPICS = {
    "lights": "lamp bulb bright dim glow",
    "music": "song band tune album play",
    "travel": "flight train hotel trip ticket",
    "weather": "rain sun snow wind storm",
}
FILLER = "please can you the my a now today some find"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def make_encoder(directory: Path, *, width: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """A BERT of random weights with a word for every word of the world, as transformers saves it."""
    words = [*SPECIALS, *" ".join([*TOPICS.values(), FILLER]).split()]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
    )
    with quiet():
        BertModel(config, add_pooling_layer=False).save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return directory


def utterances(number: int, seed: int) -> list[tuple[str, str]]:
    """(text, intent): two words of a topic among filler."""
    draw = random.Random(seed)
    made = []
    for index in range(number):
        intent = sorted(TOPICS)[index % len(TOPICS)]
        words = draw.sample(TOPICS[intent].split(), 2) + draw.sample(FILLER.split(), draw.randrange(1, 6))
        draw.shuffle(words)
        made.append((" ".join(words), intent))
    return made


def write_task(path: Path, *, train: int = 80, test: int = 40, extra: Sequence[dict[str, Any]] = ()) -> Path:
    rows = [
        {"id": f"{split}-{index}", "text": text, "intent": intent, "split": split}
        for split, number, seed in (("train", train, 1), ("test", test, 2))
        for index, (text, intent) in enumerate(utterances(number, seed))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *extra]))
    return path


def neighbour(text: str, rank: int = 0) -> dict[str, Any]:
    empty = dict.fromkeys(field.name for field in NEIGHBOUR)
    return empty | {"passage_id": f"p{rank}", "text": text, "source": "tests", "retriever": "lexical", "rank": rank}


def make_transfer_set(store: Store, name: str, rows: Sequence[dict[str, Any]], retriever: str = "lexical") -> Artifact:
    """A transfer set as the service writes one; a row holds utterance_id, text and what else it wants."""
    whole = dict.fromkeys(TRANSFER_SET.names) | {"include_utterance": True, "neighbours": []}
    directory = store.path("transfer-set", name)
    with drafting(directory, Plan("transfer-set", 1, {"retriever": retriever})) as draft:
        half = (len(rows) + 1) // 2
        for number, part in enumerate((rows[:half], rows[half:])):
            write_shard(draft, f"shard-{number}", pa.Table.from_pylist([whole | row for row in part], TRANSFER_SET))
        draft.finish()
    return open_artifact(directory, "transfer-set", version=1)


def make_world(root: Path) -> tuple[Store, RunConfig]:
    """A store with a transfer set `near`, an encoder and a task beside it, and the config of a run on them."""
    store = Store(root / "artifacts")
    rows = [
        {"utterance_id": f"train-{i}", "text": text, "neighbours": [neighbour(f"some {text} today")]}
        for i, (text, _) in enumerate(utterances(80, 1))
    ]
    make_transfer_set(store, "near", rows)
    return store, config_of(make_encoder(root / "encoder"), write_task(root / "task.jsonl"))


def config_of(encoder: Path, task: Path, /, **sections: Any) -> RunConfig:
    """Settings under which the tiny teacher and student learn the tiny task; `sections` lie over them."""
    settings: dict[str, Any] = {
        "task": {"path": str(task), "shots": 15},
        "transfer_set": {"name": "near"},
        "teacher": {"model": str(encoder), "updates": 60, "learning_rate": 3e-3, "max_length": 32},
        "student": {"layers": 1, "width": 16, "heads": 2, "max_length": 32},
        "distill": {"updates": 120, "batch_size": 16, "learning_rate": 2e-2},
        "finetune": {"updates": 20, "batch_size": 16},
        "precision": "float32",
    }
    for section, values in sections.items():
        if isinstance(values, dict) and isinstance(settings.get(section), dict):
            settings[section] = settings[section] | values
        else:
            settings[section] = values
    return make_config(settings)
