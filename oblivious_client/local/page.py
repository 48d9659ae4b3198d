"""The page that the local endpoint shows in a browser, and the files that it is made of."""

from __future__ import annotations

from importlib import resources

from oblivious_client.local.messages import Fields, LocalResponse

_TYPES = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "mjs": b"text/javascript; charset=utf-8",
}
_BESIDE = (
    "asking.js",
    "evidence.js",
    "following.js",
    "layout.css",
    "main.js",
    "making.js",
    "markdown.js",
    "question.js",
    "speech.js",
    "turn.js",
    "vendor/markdown-it.mjs",
    "words.css",
)

FILES = {"/": "index.html", **{f"/page/{name}": name for name in _BESIDE}}
"""The files by their paths: these and no others are ever shown."""

# Scripts and styles are files of this endpoint, and no other answer of it has a type of theirs. No
# text becomes markup anywhere: a browser that knows trusted types refuses whatever would try.
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
_FIELDS: Fields = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


def page(path: str = "/") -> LocalResponse:
    """Return the page, or the file of it at a path of FILES."""
    name = FILES[path]
    body = resources.files("oblivious_client").joinpath("page", *name.split("/")).read_bytes()
    kind = _TYPES[name.rpartition(".")[2]]
    return LocalResponse(200, ((b"content-type", kind), *_FIELDS), body)
