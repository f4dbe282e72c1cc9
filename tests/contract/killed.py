"""A builder that is killed with SIGKILL at its first, second, third … touch of the disk, until one gets through.

Run as `python killed.py DIRECTORY`: prints one JSON line a life. Each life starts in a new directory, dies at its
touch, and is then lived again undisturbed. A process of its own, because it forks, which a process with Arrow's
threads must not.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from contract.draft import Plan, drafting
from contract.manifest import MANIFEST, Count, read_manifest

STEPS = 2


def build(directory: Path) -> tuple[str, list[int]]:
    """Build in two steps, each with two files; -> the id, and the steps that were made in this life."""
    made = []
    with drafting(directory, Plan("corpus", 1, {"steps": STEPS})) as draft:
        if draft.finished is None:
            total = 0
            for number in range(STEPS):
                receipt = draft.receipt(f"step-{number}")
                if receipt is None:
                    for part in ("a", "b"):
                        draft.partial(f"{part}/{number}").write_text(f"{part} {number} after {total}\n" * 100)
                    receipt = draft.keep(
                        f"step-{number}",
                        {f"a/{number}": 1, f"b/{number}": 1},
                        counts={"passages": Count(2, 1, {"empty": 1})},
                        state={"total": total + number},
                    )
                    made.append(number)
                total = receipt.state["total"]
            draft.finish(facts={"total": total})
        assert draft.finished is not None
        return draft.finished.id, made


def die_at(touch: int, directory: Path) -> None:
    """Kill this process before it touches anything below `directory` for the `touch`-th time."""
    touches = 0

    def watch(event: str, args: tuple[object, ...]) -> None:
        nonlocal touches
        if event.split(".")[0] in ("open", "os", "shutil") and any(str(directory) in str(arg) for arg in args):
            touches += 1
            if touches == touch:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def spare_the_disk() -> None:
    """SIGKILL loses nothing that was written, so that nothing here needs fsync; only a power cut would tell."""
    os.fsync = lambda descriptor: None  # type: ignore[assignment]


def main(root: Path) -> None:
    spare_the_disk()
    touch, was_killed = 0, True
    while was_killed:
        touch += 1
        directory = root / f"life-{touch}"
        child = os.fork()
        if child == 0:
            die_at(touch, directory)
            build(directory)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        was_killed = os.WIFSIGNALED(status)
        finished = (directory / MANIFEST).exists()
        kept = sum(1 for _ in (directory / ".draft").glob("step-*.json"))
        found, made = build(directory)
        whole = read_manifest(directory)
        left = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
        life = {"was_killed": was_killed, "finished": finished, "kept": kept, "id": found, "made": made, "left": left}
        print(json.dumps({**life, "files": sorted(entry.name for entry in whole.files)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
