"""Is every file and function small enough to be read, and does every module say what it is?"""

import ast

import pytest

from tests.house.files import code, named

MAX_FILE, MAX_FUNCTION = 600, 60

FILES = code()


@pytest.fixture(scope="module")
def trees():
    return {named(file): ast.parse(file.read_text()) for file in FILES}


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_there_are_files_to_check():
    assert len(FILES) > 50


def test_no_file_is_too_long():
    lengths = {named(file): len(file.read_text().splitlines()) for file in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE} == {}


def test_no_function_is_too_long(trees):
    long = {
        f"{name}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for name, tree in trees.items()
        for node in functions(tree)
        if node.end_lineno - node.lineno + 1 > MAX_FUNCTION
    }
    assert long == {}


def test_every_module_says_what_it_is(trees):
    assert [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []
