"""Kept results: what came out of the experiments in full, committed beside the code: NAME.parquet and NAME.md.

Written by `python -m experiments NAME --keep`; read by whoever asks what was found without running anything.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contract.artifact import write_parquet
from contract.errors import BadInput, CorruptArtifact, NotFound
from contract.manifest import move_into_place, write_whole
from experiments.data import DEFAULT_DATA
from experiments.results import SCHEMA

KEPT = Path(__file__).with_name("kept")


def keep(name: str, results: pa.Table, text: str, folder: Path = KEPT) -> Path:
    """Keep the results and the table of an experiment; BadInput where a run does not say which code made it."""
    unknown = [row["run"] for row in results.select(["run", "commit"]).to_pylist() if not row["commit"]]
    if unknown:
        raise BadInput(
            f"{len(unknown)} of {results.num_rows} runs do not say which commit made them (the first is {unknown[0]}); "
            "expected all to be in the experiment's ledger; make them anew under another name of --artifacts"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.parquet"
    partial = path.with_name(f".{path.name}.partial")
    write_parquet(_placeless(results), partial)
    move_into_place(partial, path)
    write_whole(folder / f"{name}.md", text.encode())
    return path


def _placeless(results: pa.Table) -> pa.Table:
    """The same, the real data named by where it lies for everybody, not by where this machine has it."""
    place = os.environ.get("TRANSFERSET_DATA")
    if not place:
        return results
    index = results.schema.get_field_index("settings")
    settings = pc.replace_substring(results["settings"], pattern=place.rstrip("/"), replacement=DEFAULT_DATA)
    return results.set_column(index, results.schema.field(index), settings)


def read_kept(name: str, folder: Path = KEPT) -> pa.Table:
    """The kept results of an experiment, in the schema of its results."""
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise NotFound(f"Nothing is kept of {name}: there is no {path}; python -m experiments {name} --keep writes it")
    table = pq.read_table(path)
    if not table.schema.equals(SCHEMA):
        raise CorruptArtifact(f"{path} does not have the columns of results; keep it again with --keep")
    return table
