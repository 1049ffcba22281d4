"""Is a job file read as JSON where it is JSON, and does YAML come to JSON's types and to nothing else?"""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.cli.document import BadDocument, read
from infra.cli.given import BadFile


def said(tmp_path: Path, text: str, name: str = "job.json") -> Any:
    file = tmp_path / name
    file.write_bytes(text.encode())
    return read(file)


def refusal(tmp_path: Path, text: str, name: str = "job.yaml") -> str:
    with pytest.raises(BadDocument) as refused:
        said(tmp_path, text, name)
    message = str(refused.value)
    assert "\n" not in message and message.startswith(str(tmp_path / name))
    return message


@pytest.mark.parametrize("name", ["job.json", "job.yaml", "job"])
@pytest.mark.parametrize(
    "text",
    [
        r'{"title": "\ud83d\ude80 \u00e9"}',
        '{\n\t"a": [\n\t\t1\n\t]\n}',
        '{"a": 1e3, "b": 1E-2, "c": -0, "d": 1.5}',
        '{"a": "x: y # z", "b": "no", "c": null, "d": "017", "<<": {"e": 1}}',
        '{"a":"b","\u2028":"\u0085"}',
        '\ufeff{\t"a": 1}',
        '"text alone"',
    ],
)
def test_what_is_json_is_read_as_json_whatever_the_file_is_called(tmp_path: Path, text: str, name: str) -> None:
    found = said(tmp_path, text, name)
    expected = json.loads(text.removeprefix("\ufeff"))
    assert found == expected and repr(found) == repr(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "a key twice"),
        ('{"a": {"b": 1, "b": 1}}', "a key twice"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ('{"a": 1e400}', "a is not a finite number"),
        (r'{"a": ["x", "\ud83d"]}', "a.1 contains a lone surrogate"),
        (r'{"\udc00": 1}', "a key contains a lone surrogate"),
        (r'{"a": "\u0000"}', "a contains the character U+0000"),
        ('{"a": %s}' % ("9" * 5000), "a is beyond 2^53"),
        ("[" * 100_000, "nested deeper than"),
        ("[" * 60 + "]" * 60, "nested deeper than 32"),
    ],
)
def test_json_that_not_all_read_alike_or_that_cannot_be_kept_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    assert reason in refusal(tmp_path, text)


def test_a_mistake_in_json_is_told_where_json_has_it(tmp_path: Path) -> None:
    assert "line 2, column 1" in refusal(tmp_path, '{"a": 1,\n}', "job.json")
    assert "read as JSON: Expecting" in refusal(tmp_path, '{"a": [1,\n\t2,}')
    refusal(tmp_path, "name: greet\n", "job.json")


def test_in_yaml_only_the_words_of_json_mean_more_than_themselves(tmp_path: Path) -> None:
    words = ["017", "0o17", "0x1F", "0b11", "1_000", "+5", "1:30", "1:30.5", ".5", "5.", "no", "on", "True", "Null", "2026-11-24"]
    words += ["2026-11-24T10:00:00Z", "=", "1e", "٣", "infinity", "nan"]
    found = said(tmp_path, "".join(f"- {word}\n" for word in words), "job.yaml")
    assert found == words
    values = "[true, false, null, ~, 0, -7, 1.5, 1e3, -2.5E-1]"
    assert repr(said(tmp_path, values, "job.yaml")) == "[True, False, None, None, 0, -7, 1.5, 1000.0, -0.25]"
    assert said(tmp_path, "a:\nb: ''\nc: \"1\"\nd: |\n  1\n", "job.yaml") == {"a": None, "b": "", "c": "1", "d": "1\n"}


@pytest.mark.parametrize(
    "text",
    [
        "a: .nan\n",
        "a: -.inf\n",
        "a: [.INF]\n",
        "a: 1e400\n",
        "a: !!binary aGVsbG8=\n",
        "a: !!timestamp 2026-11-24\n",
        "a: !!set {x, y}\n",
        "a: !!str 7\n",
        "a: ! x\n",
        'a: "\\ud83d"\n',
        'a: "\\0"\n',
        f"a: {'9' * 5000}\n",
        "<<: {a: 1}\n",
        "true: 1\n",
        "? [a]\n: 1\n",
        "a: 1\n---\nb: 2\n",
        "a: [1\n",
        "a: \x01\n",
        "a:\n\t- 1\n",
        "- " * 60 + "x\n",
    ],
)
def test_yaml_that_is_no_json_is_one_line_that_says_so(tmp_path: Path, text: str) -> None:
    refusal(tmp_path, text)


def test_a_file_that_is_not_there_or_no_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"name: caf\xe9\n")
    for file, reason in ((tmp_path / "none", "No such file"), (tmp_path, "directory"), (tmp_path / "latin", "not UTF-8")):
        with pytest.raises(BadFile, match=reason):
            read(file)
