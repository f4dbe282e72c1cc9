"""`python -m jobs worker`: what `transferset worker` is."""

from contract.console import run
from jobs.cli import app

run(app)
