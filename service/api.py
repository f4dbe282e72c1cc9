"""The HTTP API: its routes put together, with what they work with started before and stopped after them.

A request never waits for a job. What touches the disk, an index or the jobs' database runs in threads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata

import anyio
from anyio.to_thread import run_sync
from fastapi import FastAPI

from service.indexes import Opener, OpenIndexes
from service.jobs import Jobs
from service.problems import ProblemGuard, answer_with_problems
from service.routes import health, indexes, jobs, neighbours, tasks, transfer_sets
from service.routes.context import PROBLEMS, Service
from service.settings import Settings
from service.tasks import TaskFolder
from service.worker import Builder, Worker


def create_app(settings: Settings, *, opener: Opener, builder: Builder) -> FastAPI:
    """The application. `opener` opens an index by name, `builder` builds what a job asks for."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings.artifacts.mkdir(parents=True, exist_ok=True)
        worker = Worker(settings, builder) if settings.workers else None
        service = Service(
            settings=settings,
            store=settings.store,
            indexes=OpenIndexes(settings.store, opener, settings.open_indexes),
            tasks=TaskFolder(settings.tasks_folder),
            jobs=await run_sync(Jobs, settings.database_url),
            worker=worker,
            searching=anyio.CapacityLimiter(settings.search_threads),
        )
        if worker is not None:
            await run_sync(worker.start)
        app.state.service = service
        yield
        if worker is not None:
            await run_sync(worker.stop)
        await run_sync(service.jobs.close)

    app = FastAPI(
        title="Transferset",
        version=_version(),
        summary="Contextualized transfer sets: task utterances with the generic passages nearest to them.",
        lifespan=lifespan,
    )
    for part in (neighbours, indexes, tasks, transfer_sets, jobs):
        app.include_router(part.router, responses=PROBLEMS)
    app.include_router(health.router)
    answer_with_problems(app, settings.artifacts)
    app.add_middleware(ProblemGuard, max_body_bytes=settings.max_body_bytes, max_upload_bytes=settings.max_upload_bytes)
    return app


def _version() -> str:
    try:
        return metadata.version("transferset")
    except metadata.PackageNotFoundError:
        return "0"
