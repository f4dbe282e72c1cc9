"""`export` and `predict` as they are typed: what they print, what they refuse, and bad rows told as they come."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from contract.errors import BadInput
from distill.cli import app
from distill.settings.task import Kind
from distill.shipping.lineage import licence_of_model, read_licences
from tests.distill.shipped import Shipped
from tests.distill.tiny import utterances


@pytest.fixture
def intents(shipped_kind: Callable[[Kind], Shipped]) -> Shipped:
    return shipped_kind("classes")


def typed(shipped: Shipped, *words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--artifacts", str(shipped.store.root)])


def lines_of(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


# export


def test_export_prints_the_forms_beside_the_teacher_and_the_folder(intents: Shipped) -> None:
    result = typed(intents, "export", "r1", "--int8-loss", 20)
    assert result.exit_code == 0, result.output
    shown = result.stdout
    for form in ("teacher, torch float32", "torch float32", "ONNX float32", "ONNX int8"):
        assert form in shown
    assert "one thread" in shown
    assert shown.splitlines()[-1] == f"folder: {intents.export.directory}"


def test_as_json_it_is_what_the_folder_says(intents: Shipped) -> None:
    (said,) = lines_of(typed(intents, "export", "r1", "--json"))
    assert said["id"] == intents.export.id
    assert said["export"] == json.loads((intents.export.directory / "export.json").read_bytes())


def test_licences_reach_the_card(intents: Shipped, tmp_path: Path) -> None:
    options = ["--to", tmp_path / "ship", "--no-onnx", "--license", "student=mit", "--license", "task=cc-by-4.0"]
    result = typed(intents, "export", "r1", *options)
    assert result.exit_code == 0, result.output
    card = (tmp_path / "ship" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: mit\n")
    assert "| task | cc-by-4.0 |" in card
    assert "| corpus | not said |" in card


@pytest.mark.parametrize("given", ["mit", "student=", "=mit", "house=mit", "student=two words", "task=a\nb: c"])
def test_a_licence_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(BadInput, match="PART=LICENCE"):
        read_licences([given])


def test_a_models_own_card_names_its_licence(intents: Shipped, tmp_path: Path) -> None:
    folder = Path(intents.config.teacher.model)
    assert licence_of_model(str(folder)) is None
    try:
        (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n")
        assert licence_of_model(str(folder)) == "apache-2.0"
    finally:
        (folder / "README.md").unlink()
    assert licence_of_model("somebody/on-the-hub") is None, "nothing is fetched for it"


# predict


def test_predict_prints_the_label_and_its_probability_beside_the_text(intents: Shipped) -> None:
    texts = [text for text, _ in utterances(3, 5)]
    shown = typed(intents, "predict", "r1", *texts).stdout.splitlines()
    asked = lines_of(typed(intents, "predict", "r1", *texts, "--json"))
    assert shown == [f"{each['label']}  {100 * each['probability']:.1f} %  {each['text']}" for each in asked]
    assert [each["text"] for each in asked] == texts


@pytest.mark.parametrize("form", ["--onnx", "--int8"])
def test_a_file_is_answered_row_by_row_in_any_form(intents: Shipped, tmp_path: Path, form: str) -> None:
    rows = [{"id": f"q{number}", "text": text} for number, (text, _) in enumerate(utterances(30, 6))]
    path = tmp_path / "asked.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = lines_of(typed(intents, "predict", "r1", "--file", path, "--json"))
    answered = lines_of(typed(intents, "predict", "r1", "--file", path, "--json", form))
    assert [each["id"] for each in answered] == [row["id"] for row in rows]
    same = [one["label"] == other["label"] for one, other in zip(asked, answered, strict=True)]
    assert sum(same) >= (30 if form == "--onnx" else 27)


def test_bad_rows_are_told_and_the_good_ones_answered(intents: Shipped, tmp_path: Path) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text('{"text": "lamp"}\n{"no": 1}\n{"text": "rain"}\n')
    refused = typed(intents, "predict", "r1", "--file", path)
    assert isinstance(refused.exception, BadInput)
    assert "row 2, column 'text'" in str(refused.exception)
    kept = typed(intents, "predict", "r1", "--file", path, "--skip-bad-rows", "--json")
    assert [each["row"] for each in lines_of(kept)] == [1, 3]
    told = " ".join(kept.stderr.split())
    assert "row 2, column 'text': expected text, found nothing" in told
    assert "2 rows answered, 1 bad ones left out" in told


def test_slots_stand_below_their_text(shipped_kind: Callable[[Kind], Shipped]) -> None:
    shipped = shipped_kind("joint")
    text = "please play the song now"
    (said,) = lines_of(typed(shipped, "predict", "r1", text, "--json"))
    shown = typed(shipped, "predict", "r1", text).stdout.splitlines()
    assert shown[0] == f"{said['label']}  {100 * said['probability']:.1f} %  {text}"
    assert shown[1:] == [f"  {slot['kind']}: {slot['text']}" for slot in said["slots"]]
    assert all(text[slot["start"] : slot["end"]] == slot["text"] for slot in said["slots"])


def test_what_a_terminal_might_obey_is_not_printed(intents: Shipped) -> None:
    shown = typed(intents, "predict", "r1", "lamp \x1b[2J\x07 bulb").stdout
    assert shown.strip("\n").isprintable()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["predict", "r1"], "found neither"),
        (["predict", "r1", "a", "--file", "f.txt"], "found both"),
        (["predict", "r1", "a", "b", "--pair", "c"], "found 1 for 2 texts"),
        (["predict", "r1", "a", "--pair", "c"], "expected a single text"),
        (["predict", "r1", " "], "expected a text"),
        (["predict", "r1", "a", "--onnx", "--int8"], "two forms of one student"),
        (["predict", "r1", "a", "--threshold", "0.5"], "--threshold means nothing"),
        (["predict", "../r1", "a"], "There is no export"),
        (["predict", "no", "a"], "There is no run"),
        (["predict", "r1", "--file", "gone.txt"], "There is no file gone.txt"),
        (["export", "no"], "There is no run"),
        (["export", "r1", "--to", "ship", "--license", "mit"], "PART=LICENCE"),
    ],
)
def test_what_is_wrong_is_a_sentence(intents: Shipped, words: list[str], told: str) -> None:
    result = typed(intents, *words)
    assert result.exit_code == 1
    assert told in str(result.exception)
