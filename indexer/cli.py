"""The indexer's commands in one app: what `python -m indexer` runs."""

from __future__ import annotations

from contract.console import make_app
from indexer.corpus_cli import corpus_app
from indexer.index_cli import index_app

app = make_app("indexer", "Documents in, a finished index out.")
app.add_typer(corpus_app)
app.add_typer(index_app)
