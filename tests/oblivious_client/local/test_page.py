"""The page: these files and no others, none of which takes anything from elsewhere."""

import re
from pathlib import Path

import pytest

import oblivious_client
from oblivious_client.local.page import FILES, page
from oblivious_client.local.surfaces import find

FOLDER = Path(oblivious_client.__file__).parent / "page"
OURS = [path for path in FILES if "/vendor/" not in path]


def body_of(path: str) -> str:
    body = page(path).body
    assert isinstance(body, bytes)
    return body.decode()


def test_every_file_is_shown_and_no_other() -> None:
    there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert set(FILES.values()) == there - {"vendor/LICENSES.txt"}
    for path in FILES:
        resource = find(path)
        assert resource is not None
        assert (resource.methods, resource.is_sealed) == (("GET", "HEAD"), False)
    for path in ("/page", "/page/", "/page/vendor", "/page/../cli.py", "/page/index.html"):
        assert find(path) is None


@pytest.mark.parametrize("path", FILES)
def test_each_has_its_type_and_the_strict_policy(path: str) -> None:
    fields = dict(page(path).fields)
    suffix = FILES[path].rpartition(".")[2]
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
    kind = kinds[suffix.removeprefix("m")]
    assert fields[b"content-type"].decode() == f"{kind}; charset=utf-8"
    assert fields[b"x-content-type-options"] == b"nosniff"
    policy = fields[b"content-security-policy"].decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]


@pytest.mark.parametrize("path", OURS)
def test_nothing_comes_from_elsewhere_and_no_text_becomes_markup(path: str) -> None:
    text = body_of(path)
    assert not re.findall(r"url\(|@import|https?:|//|innerHTML|outerHTML|insertAdjacent", text)
    assert not re.findall(r"document\.write|\beval\b|Function\(|DOMParser|srcdoc", text)
    for place in re.findall(r'(?:src=|href=|from )"([^"]*)"', text):
        assert place == "data:," or place in FILES


def test_the_page_has_no_script_or_style_of_its_own() -> None:
    html = body_of("/")
    assert re.findall(r"<script[^>]*>[^<]+|<style|\son\w+=|\sstyle=", html) == []


@pytest.mark.parametrize("path", OURS)
def test_each_file_can_be_read_in_one_sitting(path: str) -> None:
    assert len(body_of(path).splitlines()) <= 250
