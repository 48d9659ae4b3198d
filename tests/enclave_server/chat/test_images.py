"""Images and documents inside a request: they are what they say, in one form."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.chat.errors import ChatError
from enclave_server.chat.images import MEDIA_TYPES, checked_pdf, checked_url, inline

HEADS = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/gif": b"GIF89a",
    "image/webp": b"RIFF\x10\x00\x00\x00WEBP",
}


def coded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def url(media_type: str, octets: bytes) -> str:
    return f"data:{media_type};base64,{coded(octets)}"


def image(media_type: str) -> bytes:
    return HEADS[media_type].ljust(40, b"\0")


def test_every_kind_is_tried() -> None:
    assert set(HEADS) == set(MEDIA_TYPES)


@pytest.mark.parametrize("media_type", HEADS)
def test_an_image_is_what_it_says(media_type: str) -> None:
    read = inline(url(media_type, image(media_type)))
    assert read is not None
    assert (read.media_type, read.data_base64) == (media_type, coded(image(media_type)))
    assert read.url == url(media_type, image(media_type))
    for other in HEADS:
        assert (inline(url(other, image(media_type))) is None) == (other != media_type)


WRONG = {
    "not base64": "data:image/png;base64,iVBORw0K*GgoAAAA",
    "cut base64": url("image/png", image("image/png"))[:-1],
    "no base64": "data:image/png,abc",
    "a parameter": "data:image/png;name=ada;base64," + coded(image("image/png")),
    "another kind": url("image/svg+xml", b"<svg>".ljust(40)),
    "text": url("text/plain", image("image/png")),
    "nothing": "data:image/png;base64,",
    "too short": url("image/png", HEADS["image/png"]),
    "a line end behind": url("image/png", image("image/png")) + "\n",
    "webp of another container": url("image/webp", b"RIFF\x10\x00\x00\x00WAVE".ljust(40)),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_image_is_refused_at_its_place(case: str) -> None:
    assert inline(WRONG[case]) is None
    with pytest.raises(ChatError) as caught:
        checked_url(WRONG[case], "messages[0].content[1].image_url")
    assert (caught.value.param, caught.value.code) == (
        "messages[0].content[1].image_url",
        "invalid_image",
    )


@pytest.mark.parametrize(("octets", "is_one"), [(9, False), (12, True), (15, True)])
def test_an_image_has_at_least_what_tells_its_kind(octets: int, is_one: bool) -> None:
    """Twelve octets: WebP says what it is in the last four of them, and no picture is smaller."""
    cut = HEADS["image/jpeg"].ljust(octets, b"\0")
    assert (inline(url("image/jpeg", cut)) is not None) == is_one
    webp = HEADS["image/webp"].ljust(octets, b"\0")[:octets]
    assert (inline(url("image/webp", webp)) is not None) == is_one


def test_base64_is_right_as_far_as_the_kind_is_told() -> None:
    pdf = coded(b"%PDF-1.7\n".ljust(40))
    broken = [pdf[:at] + "=" + pdf[at + 1 :] for at in range(15)]
    for wrong in (*broken, pdf[:8] + "****" + pdf[8:], "\n\n\n\n" + pdf):
        with pytest.raises(ChatError):
            checked_pdf(wrong, "x")


def test_ways_to_write_a_url_leave_no_trace() -> None:
    plain = url("image/jpeg", image("image/jpeg"))
    for odd in (
        plain.replace("jpeg", "jpg"),
        plain.replace("image/jpeg", "IMAGE/JPEG"),
        plain.replace("data", "Data"),
    ):
        assert checked_url(odd, "x") == plain
    assert checked_url(plain, "x") is plain


def test_what_is_elsewhere_is_left_to_the_model_s_table() -> None:
    assert checked_url("https://x/y.png", "x") == "https://x/y.png"
    assert inline("https://x/y.png") is None


def test_a_document_is_a_pdf() -> None:
    pdf = coded(b"%PDF-1.7\n".ljust(40))
    assert checked_pdf(pdf, "x") is pdf
    for wrong in ("", pdf[:-1], coded(b"<html>".ljust(40)), "*" * 40):
        with pytest.raises(ChatError) as caught:
            checked_pdf(wrong, "messages[0].content[0].file")
        assert caught.value.param == "messages[0].content[0].file"


@given(st.text() | st.binary().map(lambda octets: url("image/png", octets)))
def test_any_text_is_an_image_or_none(text: str) -> None:
    read = inline(text)
    assert read is None or base64.b64decode(read.data_base64, validate=True)
