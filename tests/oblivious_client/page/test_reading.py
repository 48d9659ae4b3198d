"""Reading: where the page stands, what is folded, what is spoken, and at which sizes."""

import itertools

import pytest

from tests.support.chat_page import ChatPage, pieces

LONG = "\n\n".join(f"Sentence number {number} of a long answer." for number in range(80))
AT_END = "innerHeight + scrollY >= document.documentElement.scrollHeight - 1"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def long_answer(page: ChatPage, monkeypatch: pytest.MonkeyPatch) -> ChatPage:
    """The page amid a long answer, the most of which has come."""
    words = pieces(LONG)
    monkeypatch.setattr("tests.support.gateway.WORDS", words)
    page.gateway.chat.pause_after = len(words) - 40
    page.gateway.chat.release.clear()
    page.ask("A long one?")
    page.browser.wait_until("document.querySelectorAll('.block').length > 60")
    return page


def finish(page: ChatPage) -> None:
    page.gateway.chat.release.set()
    page.browser.wait_for(".proof")


def test_the_end_is_followed_by_a_reader_who_is_there(long_answer: ChatPage) -> None:
    assert long_answer.value(AT_END)
    assert long_answer.value("at('to-end').hidden")
    finish(long_answer)
    assert long_answer.value(AT_END)


def test_a_reader_who_went_up_is_left_there(long_answer: ChatPage) -> None:
    page = long_answer
    page.value("scrollTo(0, 200)")
    page.browser.wait_until("!at('to-end').hidden")
    finish(page)
    assert page.value("scrollY") == 200
    page.value("at('to-end').click()")
    assert page.value(AT_END)
    assert page.value("at('to-end').hidden")
    page.value("scrollTo(0, 200)")
    page.browser.wait_until("!at('to-end').hidden")
    page.ask("Another?")  # whoever asks wants to see it
    page.browser.wait_until(AT_END)


def test_a_reader_who_comes_back_is_taken_along(long_answer: ChatPage) -> None:
    page = long_answer
    page.value("scrollTo(0, 200)")
    page.browser.wait_until("!at('to-end').hidden")
    page.value("scrollTo(0, document.documentElement.scrollHeight)")
    page.browser.wait_until("at('to-end').hidden")
    finish(page)
    assert page.value(AT_END)


def test_each_sentence_is_spoken_once_and_whole(
    page: ChatPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Paris **is one.** So is\nRome! And `v1.2.3`?\n\n```\ncode\n```\n\n- An item\n- The last"
    monkeypatch.setattr("tests.support.gateway.WORDS", tuple(text))
    page.value(
        "window.heard = [], new MutationObserver(all => all.forEach(each =>"
        " each.addedNodes.forEach(node => heard.push(node.textContent))))"
        ".observe(at('speech'), {childList: true}), null"
    )
    page.gateway.chat.pause_after = text.index("So is") + 3
    page.gateway.chat.release.clear()
    page.ask("And of Spain?")
    page.browser.wait_until("heard.length")  # it does not wait for the end
    assert page.value("heard[0]") == "Paris is one."
    page.gateway.chat.release.set()
    page.browser.wait_until("heard.at(-1).startsWith('complete')")
    heard = page.value("heard")
    assert " ".join(heard) == (
        "Paris is one. So is Rome! And v1.2.3? Code, 1 lines. An item The last"
        " complete, and signed by the attested key"
    )
    assert page.value("at('speech').getAttribute('aria-live')") == "polite"
    assert page.count("#talk[aria-live], #talk [aria-live]") == 0  # or it would be said twice


def test_reasoning_is_folded(page: ChatPage) -> None:
    page.gateway.chat.thought = "First, **think**."
    page.ask_and_wait()
    assert page.browser.wait_for(".thought div") == "First, **think**."
    assert not page.value("document.querySelector('.thought').open")
    assert "First" not in page.value("document.querySelector('.assistant').innerText")
    page.ask_and_wait("And then?")
    assert page.asked()[1] == {"role": "assistant", "content": "The capital of France is Paris."}


@pytest.mark.parametrize("width", [320, 360, 600, 700, 900, 1151, 1152, 1920])
def test_nothing_stands_beyond_the_page(
    page: ChatPage, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    page.browser.resize(width, 740)
    page.open()
    wide = f"`{'x' * 300}` {'y' * 300}\n\n```\n{'z' * 300}\n```\n\n|{'head|' * 30}\n|{'---|' * 30}"
    monkeypatch.setattr("tests.support.gateway.WORDS", pieces(wide))
    page.value("document.querySelector('option').textContent = 'a-model-of-a-very-long-name'")
    page.value("document.querySelector('option').value = 'stand-in'")
    page.ask_and_wait("w" * 300)
    assert page.value(OVERFLOW) == 0
    assert page.value("at('question').offsetWidth") >= min(width * 0.5, 700)
    for name in ("send", "new", "model", "show-role", "verdict"):
        box = page.value(f"at('{name}').getBoundingClientRect().toJSON()")
        assert box["left"] >= 0, name
        assert box["right"] <= width, name
        assert box["height"] >= 24, name
    page.value("at('evidence').open = true")
    assert page.value(OVERFLOW) == 0


def test_the_evidence_is_folded_where_there_is_no_room_beside_the_chat(page: ChatPage) -> None:
    for width, is_open in ((360, False), (900, False), (1280, True), (360, False)):
        page.browser.resize(width, 740)
        page.browser.wait_until(f"at('evidence').open === {str(is_open).lower()}")
    page.open()
    assert not page.value("at('evidence').open")
    before = page.value("at('question').getBoundingClientRect().top")
    page.value("at('evidence').open = true")
    assert page.value("at('question').getBoundingClientRect().top") == before
    fold = page.value("at('fold').getBoundingClientRect().toJSON()")
    assert fold["height"] <= 740 * 0.61
    assert "Verified, but SIMULATED" in page.value("at('verdict').innerText")


def test_little_height_leaves_room_to_read(page: ChatPage) -> None:
    page.browser.resize(640, 256)
    page.ask_and_wait()
    assert page.value("getComputedStyle(at('ask')).position") == "static"


def test_all_can_be_reached_by_keys_in_the_order_in_which_it_is_read(page: ChatPage) -> None:
    page.ask_and_wait()
    page.value("at('verdict').focus()")
    reached = ["verdict"]
    for _ in itertools.repeat(None, 12):
        page.browser.press("Tab")
        active = page.value("document.activeElement.id || document.activeElement.className")
        if not active or (active in reached and active != "copy"):
            break
        reached.append(active)
    assert [each for each in reached if each != "copy"] == [
        *("verdict", "copy-chat", "new", "question", "model", "show-role", "send")
    ]
    assert reached.count("copy") == 2
