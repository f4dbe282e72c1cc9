"""GET /v1/indexes: which indexes there are, each by its manifest."""

from __future__ import annotations

from fastapi import APIRouter

from service.forms import ArtifactInfo, IndexName
from service.pages import Limit, Page, PageToken
from service.routes.context import EVERYWHERE, Here, info, infos

router = APIRouter(prefix="/v1", tags=["indexes"], dependencies=EVERYWHERE)


@router.get("/indexes", summary="List the indexes")
def list_indexes(here: Here, limit: Limit = 50, page_token: PageToken = None) -> Page[ArtifactInfo]:
    """Finished indexes by name, each with its newest version. One that is broken is listed with its `fault`."""
    return infos(here.store, "index", limit, page_token)


@router.get("/indexes/{name}", summary="Look at an index")
def get_index(here: Here, name: IndexName) -> ArtifactInfo:
    """`web` is the newest version of the index, `web@2` that version."""
    return info(here.store, "index", name)
