"""`python -m indexer`: the indexer's commands by themselves."""

from contract.console import run
from indexer.cli import app

if __name__ == "__main__":
    run(app)
