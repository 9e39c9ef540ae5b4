# SPDX-License-Identifier: MIT
"""Files through Starlette: a directory of static files and one download. The server advertises
``http.response.pathsend``, so Starlette hands over a path instead of reading the file, and on
plain TCP the kernel copies it to the socket (``sendfile``): its bytes never pass through Python.

trioserve app:app --app-dir examples/files
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from starlette.requests import Request

STATIC = Path(__file__).parent / "static"


async def download(request: Request) -> FileResponse:
    return FileResponse(STATIC / "poem.txt", filename="poem.txt")


app = Starlette(
    routes=[
        Route("/download", download),
        Mount("/", StaticFiles(directory=STATIC, html=True)),
    ]
)
