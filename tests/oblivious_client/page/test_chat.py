"""The chat: asking, stopping, failing, and beginning anew."""

import time
from pathlib import Path

import pytest

from oblivious_client.policy import Policy
from oblivious_client.releases.memory import ReleaseMemory
from oblivious_client.releases.source import Releases
from oblivious_client.releases.trust import DAY_SECONDS
from tests.support.chat_page import ChatPage
from tests.support.chromium import Browser
from tests.support.gateway import WORDS, StandInGateway
from tests.support.local_endpoint import DEADLINE, Setting, serving
from tests.support.local_endpoint import running as running_endpoint
from tests.support.released_gateway import listed, running
from tests.support.releases import TRUST

ANSWER = "".join(WORDS)
LINK = "#ask=What%20is%20the%20capital%20of%20France%3F"
SIGNED = "complete, and signed by the attested key"


def held(page: ChatPage, question: str) -> None:
    """Ask, and wait for the beginning of an answer that does not go on."""
    page.gateway.chat.release.clear()
    page.gateway.chat.pause_after = 2
    page.ask(question)
    page.browser.wait_for(".assistant")


def test_a_link_writes_a_question_and_does_not_ask_it(page: ChatPage) -> None:
    page.open(LINK)
    assert page.question == "What is the capital of France?"
    assert page.count("#talk > *") == 0
    assert {request.path for request in page.gateway.chat.inner} == {b"/v1/models"}
    page.browser.press("Enter")
    assert page.browser.wait_for(".user .text") == "What is the capital of France?"
    page.browser.wait_for(".proof")


def test_it_shows_the_evidence_and_the_answer(page: ChatPage) -> None:
    assert page.ask_and_wait() == SIGNED
    assert page.browser.wait_for(".assistant .text") == ANSWER
    page.value("at('evidence').open = true")
    text = page.browser.text
    assert "Verified, but SIMULATED" in text
    assert page.gateway.module.module_id in text
    assert f"X-Wing {page.gateway.keys[0].config.public_key[:32].hex()}…" in text


def test_it_keeps_the_conversation(page: ChatPage) -> None:
    page.ask_and_wait("And of Spain?")
    page.ask_and_wait("And of Italy?")
    assert [(each["role"], each["content"]) for each in page.asked()] == [
        ("user", "And of Spain?"),
        ("assistant", ANSWER),
        ("user", "And of Italy?"),
    ]


def test_the_system_prompt_holds_for_the_whole_chat(page: ChatPage) -> None:
    page.ask_and_wait("One?")
    assert page.asked()[0]["role"] == "user"
    page.value("at('show-role').click()")
    assert page.value("document.activeElement.id") == "system"
    page.value("at('system').value = ' Answer in French. '")
    page.ask_and_wait("Two?")
    assert page.asked()[0] == {"role": "system", "content": "Answer in French."}
    assert [each["role"] for each in page.asked()[1:]] == ["user", "assistant", "user"]


def test_keys_write_lines_and_ask(page: ChatPage) -> None:
    page.write("")
    for key in "ab":
        page.browser.press(key)
    page.browser.press("Enter", shift=True)
    page.browser.press("c")
    assert page.question == "ab\nc"
    assert page.count(".user") == 0
    height = page.value("at('question').offsetHeight")
    page.browser.press("Enter")
    page.browser.wait_for(".proof")
    assert page.asked()[0]["content"] == "ab\nc"
    assert page.browser.wait_for(".user .text") == "ab\nc"
    assert page.value("at('question').offsetHeight") < height
    page.browser.press("Enter")  # nothing asks nothing
    assert page.count(".user") == 1


@pytest.mark.parametrize("by", ["Escape", "button"])
def test_a_stopped_question_comes_back(page: ChatPage, by: str) -> None:
    held(page, "A long\nquestion?")
    page.browser.press("Enter")  # Enter does not stop, nor ask what is empty
    assert not page.gateway.chat.abandoned.is_set()
    if by == "Escape":
        page.browser.press("Escape")
    else:
        page.value("at('stop').focus(), at('stop').click()")
    assert "not the whole answer" in page.browser.wait_for(".stopped")
    assert page.gateway.chat.abandoned.wait(DEADLINE)
    assert page.count(".proof, .failed") == 0
    assert page.question == "A long\nquestion?"
    assert page.value("document.activeElement.id") == "question"
    page.gateway.chat.release.set()
    assert page.ask_and_wait("Again?") == SIGNED
    assert [message["content"] for message in page.asked()] == ["Again?"]


def test_what_was_written_meanwhile_stays(page: ChatPage) -> None:
    held(page, "First?")
    page.write("Second, half written")
    page.browser.press("Enter")
    page.browser.press("Escape")
    page.browser.wait_for(".stopped")
    assert page.question == "Second, half written"
    assert page.count(".user") == 1


def test_a_cut_answer_is_shown_as_cut_and_its_question_comes_back(page: ChatPage) -> None:
    page.gateway.faults.cut_after = 4
    assert "broke off" in page.ask_and_wait("Whole?")
    assert page.count(".proof") == 0
    assert page.question == "Whole?"


def test_an_error_is_told_and_its_question_comes_back(page: ChatPage) -> None:
    page.value("document.querySelector('option').textContent = 'other'")
    assert page.ask_and_wait("Whole?") == "there is no model other"
    assert page.question == "Whole?"
    assert page.count(".user.left") == 1


def test_a_forged_answer_is_not_taken(page: ChatPage) -> None:
    page.gateway.faults.signature = lambda fields: {**fields, "tee_output_hash": "00" * 32}
    assert "signature" in page.ask_and_wait("Whole?")
    assert page.count(".proof") == 0
    assert page.count(".assistant.left") == 1
    page.gateway.faults.signature = lambda fields: fields
    page.ask_and_wait("Again?")
    assert [message["content"] for message in page.asked()] == ["Again?"]


def test_an_endpoint_that_has_ended_is_named(browser: Browser, gateway: StandInGateway) -> None:
    with serving(gateway) as url:
        page = ChatPage(browser, url, gateway)
        page.open()
    assert "oblivious-client serve" in page.ask_and_wait("Anybody?")
    assert page.question == "Anybody?"


def test_an_answer_that_was_cut_at_its_limit_says_so(
    page: ChatPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.gateway.FINISHED", "length")
    assert page.ask_and_wait("Long?").startswith("complete up to the most")


def test_a_new_chat_can_be_taken_back(page: ChatPage) -> None:
    assert page.value("at('new').disabled")
    page.ask_and_wait("First?")
    page.value("at('new').click()")
    assert page.count("article") == 0
    assert page.value("document.activeElement.id") == "question"
    page.ask_and_wait("Second?")
    assert [each["content"] for each in page.asked()] == ["Second?"]
    page.value("document.querySelector('.back').click()")
    assert page.count("article") == 4
    page.ask_and_wait("Third?")
    asked = [each["content"] for each in page.asked() if each["role"] == "user"]
    assert asked == ["First?", "Second?", "Third?"]


def test_answers_questions_and_chats_can_be_copied(page: ChatPage) -> None:
    grant = {"origin": page.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.browser.command("Browser.grantPermissions", **grant)
    page.ask_and_wait("**And** of Spain?")
    wanted = {
        ".user .copy": "**And** of Spain?",
        ".assistant .copy": ANSWER,
        "#copy-chat": f"**user**\n\n**And** of Spain?\n\n**assistant**\n\n{ANSWER}\n",
    }
    for selector, text in wanted.items():
        button = f"document.querySelector('{selector}')"
        page.value(f"{button}.click()")
        page.browser.wait_until(f"{button}.textContent === 'Copied'")
        assert page.value("navigator.clipboard.readText()") == text


def test_a_refusal_is_shown_and_nothing_is_asked(browser: Browser, gateway: StandInGateway) -> None:
    with serving(gateway, Policy()) as url:
        page = ChatPage(browser, url, gateway)
        page.load(LINK)
        browser.wait_for("#evidence.bad")
        page.value("at('send').click()")
        browser.wait_for(".failed")
        assert page.question == "What is the capital of France?"
        assert "Not verified: nothing is sent" in browser.text
        assert page.value("at('evidence').open")
    assert gateway.posts() == []


def test_evidence_that_could_not_be_had_is_tried_again(page: ChatPage) -> None:
    page.value(
        "window.real = fetch, window.fetch = path => path === '/evidence'"
        " ? Promise.reject(new Error()) : real(path)"
    )
    page.value("at('again').click()")
    page.browser.wait_for("#evidence.bad")
    assert page.value("!at('again').hidden")
    page.value("window.fetch = real, at('again').click()")
    page.browser.wait_for("#evidence.warn")
    assert page.value("at('again').hidden")
    assert page.ask_and_wait() == SIGNED


def test_it_names_the_release_that_runs_and_who_signed_it(
    browser: Browser, gateway: StandInGateway, tmp_path: Path
) -> None:
    served = listed(running(1)).served(int(time.time()) - 6 * DAY_SECONDS)
    releases = Releases(TRUST, ReleaseMemory(tmp_path), given=served, now=time.time())
    with running_endpoint([gateway.url], Setting(releases=releases)) as (url, _):
        page = ChatPage(browser, url, gateway)
        page.open()
        page.value("at('evidence').open = true")
        text = page.browser.text
        browser.open("about:blank")
    assert "1.1.0 (number 1, kernel debian-6.12.117-1)" in text
    assert "signed by 2 of 3 builders (2 needed): build-a.example, build-b.example" in text
    assert "6 days ago, as of " in text
    assert "witness-a.example, witness-b.example; 0 of them independent of the builders" in text
    assert "the list of releases is 6 days old" in text
