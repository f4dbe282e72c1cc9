"""GET /v1/indexes: which indexes there are, each by its manifest."""

from __future__ import annotations

from fastapi import APIRouter

from service.forms import ArtifactInfo, Name
from service.pages import Limit, Page, PageToken
from service.routes.context import Here, info, infos

router = APIRouter(prefix="/v1", tags=["indexes"])


@router.get("/indexes", summary="List the indexes")
def list_indexes(here: Here, limit: Limit = 50, page_token: PageToken = None) -> Page[ArtifactInfo]:
    """Finished indexes by name. One that is broken is listed with its `fault`."""
    return infos(here.store, "index", limit, page_token)


@router.get("/indexes/{name}", summary="Look at an index")
def get_index(here: Here, name: Name) -> ArtifactInfo:
    return info(here.store, "index", name)
