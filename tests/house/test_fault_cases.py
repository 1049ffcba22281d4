"""Does the page of the fault cases name each of them once, and only tests that there are?"""

from tests.house.cases import Page
from tests.house.files import TOP

GONE = {4, 10, 12, 19, 24, 31, 39, 43, 50, 52, 55, 62, 66}
PAGE = Page(TOP / "docs/explanation/fault-cases.md", set(range(1, 69)) - GONE, GONE)


def test_every_case_is_there_exactly_once() -> None:
    PAGE.names_each_case_once()


def test_every_test_that_is_named_exists() -> None:
    PAGE.names_only_tests_that_there_are()


def test_a_case_without_a_test_says_why() -> None:
    PAGE.says_why_where_there_is_none()
