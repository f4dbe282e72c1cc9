"""Orders of transfer sets: what can be seen to be wrong with one is said at once, not by the job it would become."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from contract.draft import check_name
from contract.errors import TransfersetError
from contract.manifest import Json, read_manifest
from contract.store import Store
from jobs.jobs import Jobs
from jobs.problem import Refused, kind_of
from service.forms import TransferSetOrder
from service.indexes import OpenIndexes
from service.neighbours import SearchIndex
from service.plan import check_encoder, check_split, choose_target, open_transfer_set, plan_transfer_set
from service.reader import Unreadable
from service.request import TransferSetRequest, read_request
from service.selection import SelectionPolicy
from service.settings import Settings
from service.tasks import TaskFolder


def resolve(tasks: TaskFolder, request: Mapping[str, Json]) -> TransferSetRequest:
    """What HTTP was asked for, as the library takes it: the task's path and columns in place of its name."""
    task = str(request["task"])
    asked = {key: value for key, value in request.items() if key != "restart"}
    columns = {**tasks.columns(task), **request.get("columns", {})}
    return read_request({**asked, "task": tasks.path(task), "columns": columns})


def check_order(
    settings: Settings, tasks: TaskFolder, indexes: OpenIndexes, order: TransferSetOrder, request: Mapping[str, Json]
) -> str | None:
    """Refuse an order that cannot be built -> the exact name of its index, to which its job will hold on."""
    store = settings.store
    check_depth(settings.max_k, order.policy, order.k, "neighbours for an utterance")
    if order.rounds > 1:
        found = order.rounds * order.policy.depth(order.k)
        at_most(settings.max_k, found, "rounds", "neighbours for an utterance in all its rounds")
    with at("task"):
        asked = resolve(tasks, request)
    with at("columns" if order.columns else "task"):
        task = tasks.read(order.task, order.columns, skip_bad_rows=order.skip_bad_rows)
    for field, splits in (("split", [order.split]), ("heldout_splits", order.heldout_splits or [])):
        with at(field):
            for split in splits:
                check_split(task, split)
    index, exact = None, None
    if order.index is not None:
        with at("index"):
            exact = indexes.exact(order.index)
            index = indexes.look(exact)
            _check_fusion(store, exact, order, index)
    with at("policy.heldout.cosine"):
        check_encoder(index, order.policy)
    if order.size_of is not None:
        with at("size_of"):
            open_transfer_set(store, order.size_of)
    with at("target"):
        choose_target(task, asked)
    with at("retriever"):
        planned = plan_transfer_set(store, task, index, asked)
    with at("name"):
        check_name(store.path("transfer-set", order.name), planned.plan, restart=order.restart)
    return exact


def check_depth(most: int, policy: SelectionPolicy, k: int, what: str) -> None:
    """Refuse more neighbours than may be searched for an utterance, naming the field that asks for them."""
    at_most(most, k, "k", what)
    at_most(most, policy.depth(k), "policy.pool", f"{what}, of which diversity chooses k")


def check_room(settings: Settings, jobs: Jobs) -> None:
    """Refuse what comes when enough is waiting already, or the disk is nearly full."""
    check_disk(settings)
    alive = sum(jobs.alive()[0].values())
    if alive >= settings.max_jobs:
        raise Refused(
            f"{alive} jobs are queued or running, as many as this service takes; wait for some, or cancel some",
            status=429,
            kind="busy",
            limit=settings.max_jobs,
            found=alive,
            retry_after=10,
        )


def check_disk(settings: Settings, coming: int = 0) -> None:
    """Refuse what would leave the disk of the artifacts too little room."""
    free = shutil.disk_usage(_existing(settings.artifacts)).free
    if free - coming < settings.min_free_bytes:
        raise Refused(
            f"The disk of the artifacts has {free:,} bytes free; this takes {coming:,} and is to leave "
            f"{settings.min_free_bytes:,}; who runs this service can make room",
            status=507,
            kind="no-space",
            limit=settings.min_free_bytes,
            found=free,
            retry_after=60,
        )


def at_most(limit: int, found: int, field: str, what: str, row: int | None = None) -> None:
    """Refuse what is beyond a limit, naming the field, the limit and what was found."""
    if found > limit:
        raise Refused(
            f"{field}: expected at most {limit:,} {what}, found {found:,}",
            field=field, row=row, limit=limit, found=found,
        )  # fmt: skip


@contextmanager
def at(field: str) -> Iterator[None]:
    """Say of an error which field of the request it is about."""
    try:
        yield
    except Refused:
        raise
    except TransfersetError as error:
        row, limit, found = (getattr(error, name, None) for name in ("row", "limit", "found"))
        kind = None if isinstance(error, Unreadable) else kind_of(error)
        raise Refused(
            error.message, status=error.status, kind=kind, field=field, row=row, limit=limit, found=found
        ) from error


def _check_fusion(store: Store, exact: str, order: TransferSetOrder, index: SearchIndex) -> None:
    """The hybrid retriever fuses a fixed depth: no more neighbours than that can be asked of it."""
    is_hybrid = order.retriever == "hybrid" or (order.retriever is None and "hybrid" in index.retrievers)
    depth = read_manifest(store.find("index", exact)).params.get("fusion_depth")
    if is_hybrid and depth is not None and depth < index.rows:
        check_depth(depth, order.policy, order.k, f"neighbours of index {exact} by its hybrid retriever")


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.absolute().parent)
