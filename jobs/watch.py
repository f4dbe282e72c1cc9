"""The watch: what a worker does beside its jobs. It holds its name, and looks after jobs that nobody would go on with.

Those are the jobs of dead workers, those this worker claimed and never began (the database went away in between), and
those that code of another version took in. DBOS alone would leave each of them where it is for ever.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dbos._utils import GlobalParams

from jobs.job import QUEUES
from jobs.jobs import Jobs
from jobs.problem import place_of
from jobs.rows import Row
from jobs.slots import Slots
from jobs.versions import Forms

LOOK_EVERY_S = 2.0
# How long a job of a newer version waits for a newer worker, as in a rolling upgrade, before it is refused.
NEWER_WAITS_S = 600.0

_MOVED = (
    "its file was removed or replaced, or this process may not write to it; put it right, and start every process that "
    "uses it again"
)
# What a database says -> what that means to who runs this.
FAULTS = {
    "disk is full": "the disk of the jobs' database is full; all goes on once there is space",
    "is locked": "another process keeps the jobs' database locked; all goes on once it lets go",
    "readonly": f"the jobs' database cannot be written to: {_MOVED}",
    "no such table": f"the jobs' database has lost its tables: {_MOVED}",
    "undefinedtable": "the jobs' database has lost its tables; restore it and start this process again",
}

log = logging.getLogger("transferset.worker")


class Watch:
    """A thread that looks after the jobs of some queues, until it is told to stop."""

    def __init__(
        self,
        jobs: Jobs,
        slots: Slots,
        queues: Sequence[str],
        forms: Forms,
        running: Callable[[], Mapping[str, str | None]],
        health_file: Path | None = None,
    ) -> None:
        """`running` are the jobs this process is at: id -> the token of its claim."""
        self._jobs, self._slots, self._queues, self._forms = jobs, slots, queues, forms
        self._running, self._health_file = running, health_file
        self._strays: set[tuple[str, str | None]] = set()  # claimed and not begun, at the last look
        self._newer_since: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look_now_and_then, name="watch", daemon=True)
        self.name = slots.take(queues)

    def start(self) -> None:
        """Begin to look; before the first job is taken, what this name left in an earlier life goes back."""
        self.put_own_back()
        self._thread.start()

    def stop(self) -> None:
        """Look no more, and let go of the name."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(LOOK_EVERY_S)
        self._slots.release()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def put_own_back(self) -> None:
        """Put all that this name has back into the queue."""
        for row in self._jobs.rows.running():
            if row.executor == self.name:
                self._put_back(row)

    def look(self) -> None:
        """Look after everything once."""
        if not self._slots.hold():
            self._take_another_name()
        running = self._jobs.rows.running()
        self._rescue([row for row in running if row.executor != self.name])
        self._end_strays([row for row in running if row.executor == self.name])
        self._bring_forward()

    def _look_now_and_then(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                self.look()
                if self._health_file is not None:
                    self._health_file.touch()
            except Exception as error:  # the database is away; it is asked again soon
                log.warning("could not look after the jobs: %s", _fault(error))

    def _take_another_name(self) -> None:
        """The database was away, and another worker has the name since: go on under another with the same jobs."""
        old, self.name = self.name, self._slots.take(self._queues)
        GlobalParams.executor_id = self.name  # under which DBOS claims jobs
        self._jobs.rows.rename(old, self.name, [token for token in self._running().values() if token])
        log.warning("worker %s goes on as %s: another took its name while the database was away", old, self.name)

    def _rescue(self, running: Sequence[Row]) -> None:
        """Put the jobs of workers that are dead (nobody holds their slot) back into the queue."""
        for executor in sorted({row.executor for row in running if row.executor is not None}):
            with self._slots.if_dead(executor) as is_dead:
                if is_dead:
                    log.info("worker %s is dead; its jobs go back to the queue", executor)
                    for row in running:
                        if row.executor == executor:
                            self._put_back(row)

    def _end_strays(self, mine: Sequence[Row]) -> None:
        """Put back what this worker has claimed and not begun; it was so at the last look already."""
        running = self._running()
        strays = {(row.id, row.token) for row in mine if running.get(row.id) != row.token}
        for row in mine:
            if (row.id, row.token) in strays & self._strays:
                self._put_back(row)
                log.warning("job %s was taken and not begun; it is queued again", row.id, extra={"job": row.id})
        self._strays = strays

    def _put_back(self, row: Row) -> None:
        """A job goes to the queue of its kind, whoever had it and from whichever queue."""
        queue = next((queue for kind, queue in QUEUES.items() if kind == row.kind), None)
        if queue is not None:
            self._jobs.rows.put_back(row, queue)
        else:
            kinds = ", ".join(QUEUES)
            self._jobs.rows.fail(row, f"This version makes no job of that kind: expected {kinds}; order it again")

    def _bring_forward(self) -> None:
        """Take on the jobs that code of another version took in; those nobody here can read then say so.

        One of a newer version is left to a newer worker, for as long as a rolling upgrade may take.
        """
        for row in self._jobs.rows.waiting_elsewhere(self._queues, self._forms.name):
            form = row.form or row.version or "unknown"
            if self._forms.is_newer(form):
                since = self._newer_since.setdefault(row.id, time.monotonic())
                if time.monotonic() - since < NEWER_WAITS_S:
                    continue
            self._jobs.report(row.id, form=form)
            if self._jobs.rows.move(row, self._forms.name):
                log.info("job %s of form %s taken on", row.id, form[:20], extra={"job": row.id})


def _fault(error: Exception) -> str:
    """A sentence where we know one; never the database's own words, which may quote what was to be written."""
    said = f"{type(getattr(error, 'orig', error)).__name__} {error}".lower()
    known = [sentence for words, sentence in FAULTS.items() if words in said]
    return known[0] if known else place_of(error)
