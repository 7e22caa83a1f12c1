"""The explorer as a web application: a page, and what it asks for.

It listens to this machine alone, answers requests that were made to it by that name alone (so that no site can reach it
under another one), takes pictures up to a size, and its page loads nothing from elsewhere.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.datasets.decode import decode_rgb
from pipeline.errors import DataError, PermafrostError
from pipeline.explorer.flat_map import Plane, require_plane
from pipeline.explorer.overlay import hex_colour, overlay
from pipeline.explorer.project import Explored, Project

HOSTS = ["127.0.0.1", "localhost", "[::1]"]
UPLOAD_BYTES = 10_000_000
MOST_HITS, MOST_CLASSES, MOST_TERMS, MOST_LETTERS = 100, 200, 20, 2000
THUMBNAIL = 512  # largest side that is asked for
_PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}  # fmt: skip


class TooLarge(DataError):
    """An upload is larger than what is taken."""


def create_app(project: Project, plane: Plane = "pca") -> Starlette:
    """The application over a project.

    Args:
        plane: of the map, see `on_plane`.

    Raises:
        ConfigError: this machine cannot make such a map.
    """
    require_plane(plane)
    explorer = _Explorer(project, plane)
    routes = [Route(path, _file) for path in _FILES]
    routes += [
        Route("/api/project", explorer.project),
        Route("/api/search", explorer.search),
        Route("/api/map", explorer.map),
        Route("/api/image/{aligner}/{dataset}/{identifier}", explorer.image),
        Route("/api/picture", explorer.picture, methods=["POST"]),
        Route("/api/sound", explorer.sound, methods=["POST"]),
        Route("/api/segment", explorer.segment, methods=["POST"]),
    ]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False), Middleware(_Guard)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers={PermafrostError: _refused})


class _Guard:
    """Security headers on every answer, and no request that another site's page sends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        site = dict(scope["headers"]).get(b"sec-fetch-site", b"same-origin")
        if site not in (b"same-origin", b"none"):
            answer = JSONResponse({"error": "This page answers its own requests only."}, 403)
            await answer(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)


async def _refused(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 413 if isinstance(error, TooLarge) else 400)


async def _file(request: Request) -> Response:
    name, kind = _FILES[request.url.path]
    return Response((_PAGE / name).read_bytes(), media_type=kind, headers={"cache-control": "no-cache"})


class _Explorer:
    """The answers."""

    def __init__(self, project: Project, plane: Plane) -> None:
        self._project, self._plane = project, plane

    async def project(self, _request: Request) -> Response:
        """Aligners and their data sets."""
        return JSONResponse({"aligners": [one.as_json() for one in self._project.aligners.values()]})

    async def search(self, request: Request) -> Response:
        """Pictures nearest to words that are added and subtracted, and to a picture of the data set among them."""
        explored, dataset = self._chosen(request)
        plus, minus = _terms(request, "plus"), _terms(request, "minus")
        like = request.query_params.get("like")
        if not plus and not like:
            raise DataError("Expected words to look for (`plus`) or a picture (`like`), found neither.")
        count = _number(request, "k", 12, MOST_HITS)

        def answer(one: Explored) -> dict[str, Any]:
            collection = one.collection(dataset)
            picture = collection.pictures.load(like) if like else None
            vector = _sum_of(one, plus, minus, picture)
            return {"hits": [hit.as_json() for hit in collection.nearest(vector, count)]}

        return await _computed(explored, answer)

    async def map(self, request: Request) -> Response:
        """The map of a data set in the space of an aligner."""
        explored, dataset = self._chosen(request)
        return await _computed(explored, lambda one: one.map(dataset, self._project.data, self._plane))

    async def image(self, request: Request) -> Response:
        """A picture of a data set, at most as large as asked for."""
        size = _number(request, "size", 160, THUMBNAIL)
        names = request.path_params
        collection = self._project[names["aligner"]].collection(names["dataset"])

        def answer() -> bytes:
            picture = collection.pictures.load(names["identifier"])
            picture.thumbnail((size, size), Image.Resampling.LANCZOS)
            return _png(picture)

        made = await run_in_threadpool(answer)
        return Response(made, media_type="image/png", headers={"cache-control": "private, max-age=3600"})

    async def picture(self, request: Request) -> Response:
        """Of an uploaded picture: the nearest captions and pictures, and the classes that are asked for."""
        explored, dataset = self._chosen(request)
        names = _classes(request, needed=False)
        picture = await _uploaded(request, explored.bits)

        def answer(one: Explored) -> dict[str, Any]:
            collection = one.collection(dataset)
            vector = one.aligner.encode_image(picture)[0]
            labels = one.aligner.classify(picture, names) if names else []
            return {
                "captions": [{"text": t, "score": round(s, 4)} for t, s in collection.nearest_captions(vector, 8)],
                "hits": [hit.as_json() for hit in collection.nearest(vector, 8)],
                "classes": [{"name": label.name, "probability": label.probability} for label in labels],
            }

        return await _computed(explored, answer)

    async def sound(self, request: Request) -> Response:
        """Of an uploaded sound: the nearest captions and pictures, and the classes that are asked for."""
        explored, dataset = self._chosen(request)
        names = _classes(request, needed=False)
        content = await _content(request, "sound")

        def answer(one: Explored) -> dict[str, Any]:
            collection = one.collection(dataset)
            vector = one.aligner.encode_audio(content)[0]
            told = names and one.aligner.supports("text")
            (labels,) = one.aligner.classify_audio([content], names) if told else [[]]
            return {
                "captions": [{"text": t, "score": round(s, 4)} for t, s in collection.nearest_captions(vector, 8)],
                "hits": [hit.as_json() for hit in collection.nearest(vector, 8)],
                "classes": [{"name": label.name, "probability": label.probability} for label in labels],
            }

        return await _computed(explored, answer)

    async def segment(self, request: Request) -> Response:
        """An uploaded picture with the class of every pixel as a colour, PNG; the header `x-legend` explains it."""
        explored, _ = self._chosen(request)
        names = _classes(request, needed=True)
        dense = request.query_params.get("dense_head") or None
        if dense is not None and dense not in explored.dense_heads:
            raise DataError(f"{explored.name} has no dense head {dense!r}; it has {', '.join(explored.dense_heads)}.")
        picture = await _uploaded(request, explored.bits)

        def answer() -> tuple[bytes, list[dict[str, Any]]]:
            with explored.lock:
                head = explored.dense_heads[dense] if dense else None
                labels = explored.aligner.segment(picture, names, dense_head=head)
            shares = np.bincount(labels.ravel(), minlength=len(names)) / labels.size
            legend = [
                {"name": name, "share": round(float(share), 4), "colour": hex_colour(number)}
                for number, (name, share) in enumerate(zip(names, shares, strict=True))
            ]
            return _png(overlay(picture, labels)), legend

        made, legend = await run_in_threadpool(answer)
        return Response(made, media_type="image/png", headers={"x-legend": json.dumps(legend)})

    def _chosen(self, request: Request) -> tuple[Explored, str]:
        explored = self._project[request.query_params.get("aligner", next(iter(self._project.aligners)))]
        return explored, request.query_params.get("dataset", next(iter(explored.datasets)))


async def _computed(explored: Explored, answer: Callable[[Explored], dict[str, Any]]) -> Response:
    def locked() -> dict[str, Any]:
        with explored.lock:
            return answer(explored)

    return JSONResponse(await run_in_threadpool(locked))


def _sum_of(explored: Explored, plus: list[str], minus: list[str], picture: Image.Image | None) -> np.ndarray:
    """Unit vector (K,) of the sum of unit vectors, subtracted ones with a minus sign."""
    total = np.zeros(explored.heads.config.embed_dim, np.float32)
    if plus:
        total += explored.aligner.encode_text(plus).sum(0)
    if minus:
        total -= explored.aligner.encode_text(minus).sum(0)
    if picture is not None:
        total += explored.aligner.encode_image(picture)[0]
    length = float(np.linalg.norm(total))
    if length < 1e-6:
        raise DataError("What is added and what is subtracted cancel each other out: nothing is left to look for.")
    return total / length


def _terms(request: Request, name: str) -> list[str]:
    found = [term.strip() for term in request.query_params.getlist(name) if term.strip()]
    if len(found) > MOST_TERMS or any(len(term) > MOST_LETTERS for term in found):
        raise DataError(f"Expected at most {MOST_TERMS} texts of {MOST_LETTERS} letters each in `{name}`.")
    return found


def _classes(request: Request, needed: bool) -> list[str]:
    found = [name.strip() for name in request.query_params.get("classes", "").split(",") if name.strip()]
    names = list(dict.fromkeys(found))
    if len(names) > MOST_CLASSES:
        raise DataError(f"Expected at most {MOST_CLASSES} classes, found {len(names)}.")
    if needed and len(names) < 2:
        raise DataError("Expected at least two classes, separated by commas, such as: dog, grass, sky.")
    return names


def _number(request: Request, name: str, default: int, most: int) -> int:
    given = request.query_params.get(name, str(default))
    if not given.isdecimal() or not 1 <= int(given[:9]) <= most:
        raise DataError(f"Expected `{name}` from 1 to {most}, found {given[:20]!r}.")
    return int(given)


async def _uploaded(request: Request, bits: int | None) -> Image.Image:
    return await run_in_threadpool(decode_rgb, await _content(request, "picture"), bits)


async def _content(request: Request, what: str) -> bytes:
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > UPLOAD_BYTES:
            raise TooLarge(f"The {what} is larger than {UPLOAD_BYTES / 1e6:.0f} MB. Make it smaller and try again.")
    if not content:
        raise DataError(f"Expected a {what}, found an empty upload.")
    return bytes(content)


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
