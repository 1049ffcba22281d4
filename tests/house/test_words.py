"""Is there one word per thing, and nothing in a file that only the machine it was written on understands?"""

import re

import pytest

from tests.house.files import PACKAGES, TOP, known, named, product

BANNED_NAMES = re.compile(r"(manager|helper|util|utils|common|misc|worker|playbook|service|handler|base)s?", re.I)
"""Words that say nothing, in a module's name."""

BANNED_WORDS = re.compile(r"\b(playbooks?|utils?|helpers?|managers?)\b|\bworkers?\b", re.I)
"""Words that DESIGN replaces or that say nothing, anywhere in shipped code."""

ALLOWED = {
    "infra/deploy/services": "named so in the house's own plan",
    "docker-compose.yml": "Compose's own key",
}

THEIRS = re.compile(
    r"context manager|utils\.Utils|contextmanager|package manager|faust\S*\.?worker|Worker\(",
    re.I,
)
"""Names that others chose."""

MACHINE = re.compile(
    r"/(work|root|home/[a-z]+|Users/[A-Za-z]+)/(?!\.\.)|\b(files\.pythonhosted|pypi|registry\.npmjs|repo\d?\.maven|proxy\.golang)\.(org|com)\b|\bpypi\.\w+",
)
"""Paths of one machine and hosts of package registries."""

TEXTS = [
    file
    for file in known()
    if file.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".sh", ".json", ".lock", ""} and file.stat().st_size
]
PRODUCT = product()


@pytest.mark.parametrize("file", PRODUCT, ids=named)
def test_a_module_is_named_after_a_question_and_not_after_its_kind(file):
    parts = [part.removesuffix(".py") for part in file.relative_to(TOP).parts]
    found = [part for part in parts if BANNED_NAMES.fullmatch(part)]
    assert not found or any(named(file).startswith(place) for place in ALLOWED), f"{named(file)}: {found}"


def test_shipped_code_uses_the_words_of_the_design():
    found = [
        f"{named(file)}:{number}: {line.strip()}"
        for file in PRODUCT
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if BANNED_WORDS.search(THEIRS.sub("", line))
    ]
    assert found == []


def test_no_file_speaks_of_one_machine_or_of_a_package_registry():
    found = [
        f"{named(file)}:{number}: {match[0]}"
        for file in TEXTS
        if file.parent.name != "house"
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if (match := MACHINE.search(line))
    ]
    assert found == []


def test_nothing_is_left_for_later():
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError|pragma: no cover)\b")
    found = [
        f"{named(file)}:{number}"
        for file in PRODUCT
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if unfinished.search(line)
    ]
    assert found == [], f"in {PACKAGES}"
