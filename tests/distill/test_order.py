"""The order: the form in the contract is that of today's settings, and means what they mean."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contract import run
from contract.errors import BadInput
from contract.task_folder import PlacedTask
from distill import pipeline
from distill.config import read_config
from distill.order import order_schema, read_order, schema_text

CONFIGS = sorted((Path(__file__).parents[2] / "distill" / "configs").glob("*.toml"))
TASK = PlacedTask(Path("tasks/toy.jsonl"), {"text": "wording"})


def order_of(path: Path) -> dict[str, Any]:
    """A RUN.toml as an order."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    task = {"name": "toy"} | {key: value for key, value in raw["task"].items() if key != "path"}
    return raw | {"name": "r", "task": task}


def test_the_form_in_the_contract_is_that_of_todays_settings() -> None:
    there = (Path(run.__file__).parent / "run.schema.json").read_text(encoding="utf-8")
    assert there == schema_text(), "distill.config has changed; write it anew with `python -m distill.order`"


def test_the_contract_and_distill_call_a_runs_files_alike() -> None:
    assert (run.RUN_VERSION, run.REPORT, run.REPORT_PAGE) == (
        pipeline.RUN_VERSION,
        pipeline.REPORT,
        pipeline.REPORT_PAGE,
    )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_an_order_that_means_the_same(path: Path) -> None:
    order = order_of(path)
    assert [error.message for error in Draft202012Validator(order_schema()).iter_errors(order)] == []
    found = read_order({key: value for key, value in order.items() if key != "name"}, TASK, Path("models"))
    settings, written = read_config(path).to_json(), found.to_json()
    assert written["task"]["path"] == "toy"
    assert written["task"]["columns"]["text"] == "wording"
    for section in settings:
        if section != "task":
            assert written[section] == settings[section], section


def test_a_model_of_the_registry_is_opened_there_and_written_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    order = {"task": {"name": "toy"}, "teacher": {"model": "ours"}}
    found = read_order(order, TASK, tmp_path)
    assert found.teacher.model == str(tmp_path / "ours")
    assert found.to_json()["teacher"]["model"] == "ours"


def test_so_is_that_of_a_teacher_beside_it(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    order = {"task": {"name": "toy"}, "teacher": {"beside": [{"model": "ours"}, {"seed": 1}]}}
    found = read_order(order, TASK, tmp_path)
    assert [member.model for member in found.teacher.members] == ["minilm", str(tmp_path / "ours"), "minilm"]
    assert [other["model"] for other in found.to_json()["teacher"]["beside"]] == ["ours", None]
    assert order["teacher"]["beside"][0] == {"model": "ours"}, "the order stays as it came"  # type: ignore[index]


def test_columns_of_the_order_go_before_those_of_the_upload() -> None:
    found = read_order({"task": {"name": "toy", "columns": {"text": "body", "label": "y"}}}, TASK, Path("models"))
    assert found.task.columns == {"text": "body", "label": "y"}


def test_what_only_settings_see_is_their_sentence() -> None:
    order = {"task": {"name": "toy"}, "student": {"from": "pretrained"}}
    with pytest.raises(BadInput, match="needs model"):
        read_order(order, TASK, Path("models"))
