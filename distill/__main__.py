"""`python -m distill`: the commands of distill alone."""

from contract.console import run
from distill.cli import app

if __name__ == "__main__":
    run(app)
