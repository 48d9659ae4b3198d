"""One browser for all tests of the page, and for each test a gateway and an endpoint of its own."""

from collections.abc import Iterator

import pytest

from tests.support.chat_page import ChatPage
from tests.support.chromium import Browser, needs_chromium, running_browser
from tests.support.gateway import StandInGateway
from tests.support.local_endpoint import serving


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "oblivious_client/page/" in item.path.as_posix():
            item.add_marker(needs_chromium)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


@pytest.fixture
def page(browser: Browser, gateway: StandInGateway) -> Iterator[ChatPage]:
    """The page, open and ready to ask."""
    browser.resize(900, 860)
    browser.prefer("light")
    with serving(gateway) as url:
        opened = ChatPage(browser, url, gateway)
        opened.open()
        yield opened
        browser.open("about:blank")
