"""The object storage where the Ark emulator's results lie behind pre-signed links."""

import secrets
from dataclasses import dataclass, field

from aiohttp import web
from multidict import CIMultiDict
from yarl import URL


@dataclass(kw_only=True)
class Download:
    """A request for a result, and its answer."""

    method: str
    target: str                        # path and query as they came, byte for byte
    headers: CIMultiDict[str] = field(repr=False)
    status: int = 0


@dataclass(kw_only=True)
class _Stored:
    query: str
    data: bytes
    content_type: str
    asked: int = 0


class Storage:
    """Serves one object per link, to whoever brings the link unchanged and no credentials."""

    def __init__(self, key: str) -> None:
        self.origin = URL()
        self.missing = 0  # so many times a link that is right answers 404 first
        self.downloads: list[Download] = []
        self.leaks: list[Download] = []
        self._key = key
        self._stored: dict[str, _Stored] = {}

    def put(self, data: bytes, kind: str) -> str:
        """Keep a picture. The link is a str: a URL object might write it differently."""
        path = f"/ark-content-generation-v2/{secrets.token_hex(16)}_0.{kind}"
        # Escapes that a URL library likes to rewrite: `%2F` and `%7E` need not be escaped, `%2b` is lower case.
        query = "&".join([
            "X-Tos-Algorithm=TOS4-HMAC-SHA256",
            "X-Tos-Credential=AKLTemulated%2F20260101%2Fap-southeast-1%2Ftos%2Frequest",
            "X-Tos-Date=20260101T000000Z", "X-Tos-Expires=86400", "X-Tos-SignedHeaders=host",
            f"X-Tos-Signature={secrets.token_hex(8)}%7E%2b%3D%3D", f"x-tos-process=image%2Fformat%2C{kind}",
        ])
        self._stored[path] = _Stored(query=query, data=data, content_type=f"image/{kind}")
        return f"{str(self.origin).rstrip('/')}{path}?{query}"

    async def serve(self, request: web.Request) -> web.StreamResponse:
        # A copy with its own list: aiohttp's view of the headers ends with the request.
        download = Download(method=request.method, target=request.raw_path, headers=CIMultiDict(request.headers))
        self.downloads.append(download)
        response = self._answer(download)
        download.status = response.status
        return response

    def _answer(self, download: Download) -> web.Response:
        values = [*download.headers.values(), download.target]
        if "Authorization" in download.headers or any(self._key in value for value in values):
            self.leaks.append(download)
            return _error(400, "InvalidRequest", "Only one way to authenticate is allowed.")
        path, _, query = download.target.partition("?")
        stored = self._stored.get(path)
        if download.method != "GET" or (stored is not None and query != stored.query):
            return _error(403, "AccessDenied", "The request signature does not match the one that was calculated.")
        if stored is None:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        stored.asked += 1
        if stored.asked <= self.missing:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        return web.Response(body=stored.data, content_type=stored.content_type)


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"Code": code, "Message": message}, status=status)
