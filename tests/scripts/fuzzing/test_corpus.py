"""Inputs in files: each once, by harness, in the user's cache."""

from pathlib import Path

import pytest

from scripts.fuzzing import corpus
from scripts.fuzzing.corpus import Store


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert corpus.cache() == tmp_path / "oblivious-inference/fuzz"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert corpus.cache() == tmp_path / ".cache/oblivious-inference/fuzz"


def test_an_input_is_one_file(tmp_path: Path) -> None:
    first = corpus.write(tmp_path, b"a")
    assert corpus.write(tmp_path, b"a") == first
    assert corpus.write(tmp_path, b"b", "crash-").name.startswith("crash-")
    assert [path.read_bytes() for path in corpus.files(tmp_path)] in ([b"a", b"b"], [b"b", b"a"])


def test_seeds_are_replaced_and_the_corpus_stays(tmp_path: Path) -> None:
    store = Store(tmp_path, "cbor")
    corpus.write(store.corpus, b"found")
    store.renew_seeds([b"old"])
    store.renew_seeds([b"new", b"newer"])
    assert sorted(store.inputs()) == [b"found", b"new", b"newer"]
    assert not store.broken()
    assert Store(tmp_path, "varint").inputs() == []


def test_words_of_seeds_are_kept_as_libfuzzer_reads_them(tmp_path: Path) -> None:
    store = Store(tmp_path, "cbor")
    base64 = b'"TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24="'
    store.renew_seeds([b'{"model": "m"}', b"Content-Length: 5\r\n\xff", base64])
    comment, *words = store.words.read_text().splitlines()
    assert comment.startswith("# ")
    assert words == ['"Content-Length:"', '"model"']


def test_what_broke_something_is_apart(tmp_path: Path) -> None:
    store = Store(tmp_path, "cbor")
    path = corpus.write(store.crashes, b"x", "crash-")
    assert store.broken() == [path]
    assert store.inputs() == []
