"""What serves the page's files to whoever is signed in, and to nobody else.

Imported at the first request. The annotations are evaluated here, at the top of a module: FastAPI has to see them.
"""

from pathlib import Path
from typing import Literal

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import FastAPI
from fastapi.responses import FileResponse

FILES = Path(__file__).parent

app = FastAPI(title="Page conversations", docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/{version}/{name}.js")
def script(version: str, name: Literal["page", "records", "rules"], _: GetUserDep) -> FileResponse:  # noqa: ARG001
    """One of the page's three files; the version in the address keeps browsers from mixing those of two releases."""
    headers = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    return FileResponse(FILES / f"{name}.js", media_type="text/javascript", headers=headers)
