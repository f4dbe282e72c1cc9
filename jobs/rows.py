"""The rows of DBOS' tables: what a worker must know and mend there beyond what DBOS' own calls reach.

It leans on private names, which is why dbos is pinned. Every change names the state it expects, so that of two workers
that mend the same row one does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from dbos import DBOSClient, DBOSPortableJSONSerializer, PortableWorkflowError
from dbos._serialization import serialize_exception


@dataclass(frozen=True)
class Row:
    """A job that has not ended: who has it (`executor`, and the token of that claim), or in which queue it waits."""

    id: str
    kind: str
    queue: str | None
    version: str | None  # the form a worker must read to take it
    executor: str | None
    token: str | None
    form: str | None  # that of its payload, where it was noted


class Rows:
    """The rows of one database, through the engine of its client."""

    def __init__(self, client: DBOSClient) -> None:
        self._database = client._sys_db
        self._table = client._sys_db.tables.workflow_status

    def running(self) -> list[Row]:
        """The jobs that some worker has, living or dead."""
        return self._select(self._table.c.status == "PENDING")

    def waiting_elsewhere(self, queues: Sequence[str], version: str) -> list[Row]:
        """The jobs that wait in these queues for a worker of another version."""
        table = self._table.c
        is_other = table.application_version != version
        return self._select(table.status == "ENQUEUED", table.queue_name.in_(queues), is_other)

    def token(self, job_id: str) -> str | None:
        """The token of the claim under which a job runs now; None of one that does not run."""
        found = self._select(self._table.c.workflow_uuid == job_id, self._table.c.status == "PENDING")
        return found[0].token if found else None

    def put_back(self, row: Row, queue: str) -> bool:
        """Put a job back into its queue, while it is as it was seen -> whether it was."""
        enqueued = {"status": "ENQUEUED", "queue_name": queue, "owner_xid": None, "started_at_epoch_ms": None}
        return self._update(row, "PENDING", enqueued)

    def move(self, row: Row, version: str) -> bool:
        """Let workers of another version take a job that waits."""
        return self._update(row, "ENQUEUED", {"application_version": version})

    def rename(self, old: str, new: str, tokens: Collection[str]) -> None:
        """Give a worker's jobs its new name."""
        table = self._table
        with self._database.engine.begin() as connection:
            connection.execute(
                sa.update(table)
                .where(table.c.status == "PENDING", table.c.executor_id == old, table.c.owner_xid.in_(tokens))
                .values(executor_id=new)
            )

    def fail(self, row: Row, sentence: str) -> None:
        """End a job that its worker cannot begin."""
        error, _ = serialize_exception(
            PortableWorkflowError(sentence, "BadInput", 422), "portable_json", DBOSPortableJSONSerializer()
        )
        self._database.update_workflow_outcome(row.id, "ERROR", error=error, owner_xid=row.token)

    def _select(self, *where: sa.ColumnElement[bool]) -> list[Row]:
        table = self._table.c
        columns = (
            table.workflow_uuid, table.name, table.queue_name, table.application_version, table.executor_id,
            table.owner_xid,
        )  # fmt: skip
        ours = sa.or_(table.application_name == self._database.app_name, table.application_name.is_(None))
        with self._database.engine.connect() as connection:
            found = connection.execute(sa.select(*columns, table.attributes).where(ours, *where)).all()
        return [Row(*each[:-1], form=_form(each[-1])) for each in found]

    def _update(self, row: Row, status: str, values: Mapping[str, Any]) -> bool:
        table = self._table
        seen: Mapping[Any, Any] = {
            table.c.workflow_uuid: row.id,
            table.c.status: status,
            table.c.executor_id: row.executor,
            table.c.owner_xid: row.token,
            table.c.application_version: row.version,
        }
        with self._database.engine.begin() as connection:
            done = connection.execute(
                sa.update(table)
                .where(*(column.is_(None) if value is None else column == value for column, value in seen.items()))
                .values(values)
            )
        return bool(done.rowcount)


def _form(attributes: object) -> str | None:
    form = attributes.get("form") if isinstance(attributes, dict) else None
    return form if isinstance(form, str) else None
