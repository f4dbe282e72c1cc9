"""The HTTP API: its routes put together, with what they work with started before and stopped after them.

A request never waits for a job. What touches the disk, an index or the jobs' database runs in threads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib import metadata

from anyio.to_thread import run_sync
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from contract.errors import TransfersetError
from jobs.builder import Builder
from jobs.job import STATES, JobKind
from jobs.jobs import Jobs
from jobs.worker import Worker
from service import docs
from service.admission import Admission
from service.guard import Guard
from service.indexes import Opener, OpenIndexes
from service.keys import KeyRing
from service.problems import answer_with_problems
from service.reader import Readers
from service.routes import (
    console,
    exchange,
    explain,
    health,
    indexes,
    jobs,
    neighbours,
    removals,
    runs,
    tasks,
    transfer_sets,
)
from service.routes.context import PROBLEMS, Service
from service.searches import Searches
from service.settings import Settings
from service.tasks import TaskFolder

TAGS = [
    {"name": "neighbours", "description": "Utterances in, their nearest passages out, now."},
    {"name": "indexes", "description": "What can be searched."},
    {"name": "tasks", "description": "Utterances with labels and splits, for which transfer sets are built."},
    {"name": "transfer sets", "description": "Utterances with their neighbours, built as jobs, fetched as Parquet."},
    {"name": "runs", "description": "Students distilled on transfer sets, as jobs, fetched as Hugging Face folders."},
    {"name": "jobs", "description": "What is being built.\n\n" + STATES},
    {"name": "exchange", "description": "For workers that share no volume: what they fetch, and what they send."},
    {"name": "removals", "description": "What is no longer wanted goes, when asked."},
    {"name": "health", "description": "Whether the service is alive and ready, and how it fares."},
]


def create_app(settings: Settings, *, opener: Opener, builders: Mapping[JobKind, Builder]) -> FastAPI:
    """The application. `opener` opens an index by name, `builders` build what jobs ask for."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings.artifacts.mkdir(parents=True, exist_ok=True)
        worker = Worker(settings, builders) if settings.workers else None
        readers = Readers(settings.reading)
        open_indexes = OpenIndexes(settings.store, opener, settings.open_indexes)
        service = Service(
            settings=settings,
            store=settings.store,
            indexes=open_indexes,
            tasks=TaskFolder(settings.tasks_folder, readers),
            jobs=await run_sync(Jobs, settings.database_url),
            worker=worker,
            searches=Searches(
                open_indexes,
                threads=settings.search_threads,
                together=settings.search_together,
                queue=settings.search_queue,
                patience=settings.search_wait_seconds,
            ),
        )
        if worker is not None:
            await run_sync(worker.start)
        for name in settings.preload:
            service.searches.run(_opened, open_indexes, name)
        app.state.service = service
        yield
        service.searches.close()
        if worker is not None:
            await run_sync(worker.stop)
        await run_sync(service.jobs.close)
        await run_sync(readers.close)

    app = FastAPI(
        title="Transferset",
        version=_version(),
        summary="Contextualized transfer sets: task utterances with the generic passages nearest to them.",
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the address to go to would be made of the Host a client sends
        lifespan=lifespan,
    )
    for part in (neighbours, explain, indexes, tasks, transfer_sets, runs, jobs, removals, exchange):
        app.include_router(part.router, responses=PROBLEMS)
    app.include_router(health.router)
    app.include_router(docs.router)
    app.include_router(console.router)
    answer_with_problems(app, settings.artifacts)
    app.add_middleware(
        Admission,
        settings=settings,
        keys=KeyRing(settings.keys_file),
        check_room=lambda caller: app.state.service.searches.check_room(caller),
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-ID"],
            expose_headers=["ETag", "Location", "Retry-After", "X-Request-ID"],
        )
    app.add_middleware(Guard, settings=settings)
    return app


def _opened(open_indexes: OpenIndexes, name: str) -> None:
    """Open an index before anyone asks; what is wrong with it /readyz says."""
    with suppress(TransfersetError):
        open_indexes.get(name)


def _version() -> str:
    try:
        return metadata.version("transferset")
    except metadata.PackageNotFoundError:
        return "0"
