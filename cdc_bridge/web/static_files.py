"""Style sheet, script and icon, read once. Their URLs change with their content, so browsers cache them for long."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files

from aiohttp import web

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class StaticFiles:
    """The static files by name."""

    def __init__(self) -> None:
        folder = files("cdc_bridge.web") / "static"
        self._contents = {
            file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _TYPES
        }
        self._versions = {name: sha256(content).hexdigest()[:12] for name, content in self._contents.items()}

    def url_of(self, name: str) -> str:
        """Return a file's URL."""
        return f"/static/{name}?v={self._versions[name]}"

    async def serve(self, request: web.Request) -> web.Response:
        """Respond with a file."""
        name = request.match_info["name"]
        if name not in self._contents:
            raise web.HTTPNotFound
        return web.Response(
            body=self._contents[name],
            content_type=_TYPES[name.rpartition(".")[2]],
            charset="utf-8",
            headers={"cache-control": "public, max-age=31536000, immutable"},
        )


STATIC = StaticFiles()
