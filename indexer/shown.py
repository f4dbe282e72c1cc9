"""What the indexer's commands say of an artifact: as JSON, or in lines a person reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contract.console import answer, balance, print_json

if TYPE_CHECKING:
    from contract.artifact import Artifact


def show_artifact(name: str, artifact: Artifact, as_json: bool, **more: Any) -> None:
    manifest = artifact.manifest
    about = {"name": name, "id": manifest.id, "kind": manifest.kind, **more}
    size = sum(entry.bytes for entry in manifest.files)
    details = {
        "counts": {unit: vars(count) for unit, count in manifest.counts.items()},
        "facts": manifest.facts,
        "params": manifest.params,
        "inputs": manifest.inputs,
        "bytes": size,
    }
    if as_json:
        print_json(about | details)
        return
    lines = [f"{name} {manifest.id}, {size / 1e6:,.1f} MB"]
    lines += [f"{unit}: {balance(count)}" for unit, count in manifest.counts.items()]
    lines += [f"{key}: {_in_words(value)}" for key, value in (more | dict(manifest.facts)).items() if value]
    answer.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _in_words(value: Any) -> str:
    """A fact as a person reads it: `terms 269,824, mean length 16.98`."""
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_in_words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_in_words, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
