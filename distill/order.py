"""The order: a run as HTTP asks for it, with names where RUN.toml has paths; its form, and the settings it means.

`python -m distill.order` writes the form anew into contract/run.schema.json, after `distill.config` was changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from contract.errors import BadInput
from contract.manifest import Json
from contract.task_folder import PlacedTask
from distill.config import RunConfig, make_config
from distill.settings.augmentation import MODELS_OF_OPERATIONS, WORDNET

NAME = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}  # as contract.store has it
_LONGEST = 200  # characters of a text that is no closed set
_MOST = 64  # items of a list, columns of a mapping
_OR_ONE = ("intermediate", "intermediate_weight")  # settings of which one may stand for a list of one
_SAID_OF_FILES = "; change it in the file or with --set"


class OrderedRun(RunConfig):
    """The settings of an order. What is written of them names the task and the models, wherever they lie here."""

    _names: dict[str, str] = PrivateAttr(default_factory=dict)  # path -> name

    def to_json(self) -> dict[str, Json]:
        written = super().to_json()
        beside = [(other, "model") for other in written["teacher"].get("beside", ())]
        operations = written.get("augmentation", {}).get("operations", ())
        beside += [(operation, key) for operation in operations for key in MODELS_OF_OPERATIONS]
        own = ((written["task"], "path"), (written["teacher"], "model"), (written["student"], "model"))
        for place, key in (*own, *beside):
            if (found := place.get(key)) is not None:
                place[key] = self._names.get(found, found)
        return written


def read_order(request: Mapping[str, Json], task: PlacedTask, models: Path) -> OrderedRun:
    """The settings that an order means here; BadInput where they do not go together."""
    asked: dict[str, Json] = {section: settings for section, settings in request.items() if section != "restart"}
    given: dict[str, Json] = {key: value for key, value in asked["task"].items() if key != "name"}
    columns = {**task.columns, **given.get("columns", {})}
    asked["task"] = given | {"path": str(task.path), "columns": columns}
    names = {str(task.path): str(request["task"]["name"])}
    for section in ("teacher", "student"):
        asked |= {section: _placed(asked[section], models, names)} if section in asked else {}
    if "beside" in asked.get("teacher", {}):
        asked["teacher"]["beside"] = [_placed(other, models, names) for other in asked["teacher"]["beside"]]
    if "operations" in asked.get("augmentation", {}):
        found = asked["augmentation"]["operations"]
        operations = [_placed(operation, models, names, MODELS_OF_OPERATIONS) for operation in found]
        asked["augmentation"] = {**asked["augmentation"], "operations": operations}
        _refuse_files(operations)
    try:
        config = make_config(asked, "the order")
    except BadInput as error:
        raise BadInput(error.message.replace(_SAID_OF_FILES, "")) from error
    ordered = OrderedRun.model_validate(config.to_json())
    ordered._names.update(names)
    return ordered


def _placed(
    settings: Mapping[str, Json], models: Path, names: dict[str, str], keys: Sequence[str] = ("model",)
) -> dict[str, Json]:
    """A section with the folders of its models in place of their names, where they lie here under them."""
    placed = dict(settings)
    for key in keys:
        model = settings.get(key)
        if model is not None and (folder := models / model).is_dir():
            names[str(folder)] = model
            placed[key] = str(folder)
    return placed


def _refuse_files(operations: Sequence[Mapping[str, Json]]) -> None:
    """A file of whoever orders is not here, and what lies here is not theirs to read."""
    if any(operation.get("file", WORDNET) != WORDNET for operation in operations):
        raise BadInput(
            f'the order: augmentation: expected file = "{WORDNET}" of synonyms, found another; a file of synonyms '
            "is read by `transferset distill` alone"
        )


def order_schema() -> dict[str, Json]:
    """The JSON Schema of an order: RunConfig's without references, with names in place of paths."""
    whole = RunConfig.model_json_schema(by_alias=True)
    schema: dict[str, Json] = _inlined(whole, whole.pop("$defs"))
    sections = schema["properties"]
    task = sections["task"]
    del task["properties"]["path"]
    task["properties"] = {"name": NAME | {"description": "one of GET /v1/tasks"}, **task["properties"]}
    task["required"] = ["name"]
    named = sections["transfer_set"]["anyOf"][0]
    named["properties"]["name"] = NAME | {"description": "one of GET /v1/transfer-sets"}
    objective = sections["objective"]["properties"]
    for name in _OR_ONE:
        item = objective[name]["items"]
        one = {"enum": ["none", *item["enum"]]} if "enum" in item else item
        objective[name]["anyOf"] = [one, {"type": "array", "items": item, "maxItems": _MOST}]
        del objective[name]["items"], objective[name]["type"]
    restart = {"type": "boolean", "default": False, "description": "discard a half-built run of that name"}
    schema["properties"] = {"name": NAME | {"description": "the name of the run"}, **sections, "restart": restart}
    schema |= {"title": "RunOrder", "required": ["name", "task"]}
    schema["description"] = "A run to make: RUN.toml as JSON, with the name of a task in place of its path."
    return schema


def _inlined(value: Any, defined: Mapping[str, Json]) -> Any:
    """A part of a schema with what it refers to in its place, without titles, and with its texts and lists bounded."""
    if isinstance(value, list):
        return [_inlined(item, defined) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        rest = {key: inner for key, inner in value.items() if key != "$ref"}
        return _inlined(defined[value["$ref"].rpartition("/")[2]] | rest, defined)
    kept = {key: _inlined(inner, defined) for key, inner in value.items() if key != "title" or isinstance(inner, dict)}
    if "default" in kept and (kept["default"] is None or isinstance(kept["default"], dict)):
        del kept["default"]  # a section's are those of its settings
    if value.get("type") == "string" and "enum" not in value:
        kept["maxLength"] = _LONGEST
    if value.get("type") == "array":
        kept.setdefault("maxItems", _MOST)
    if isinstance(value.get("additionalProperties"), dict):
        kept["maxProperties"] = _MOST
    return kept


def schema_text() -> str:
    """run.schema.json as it stands on the disk."""
    return json.dumps(order_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (Path(__file__).parents[1] / "contract" / "run.schema.json").write_text(schema_text(), encoding="utf-8")
