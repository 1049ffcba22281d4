"""What does somebody who knows only the OpenAPI document send, and is every answer one that the document tells of?"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import SkipTest

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

NEVER_END = {"GET /api/v1/events/stream"}
"""Their answer, where it is one, is a stream without an end."""

_TOKENS_ARE_OURS = {"generation": {"with-security-parameters": False}}

_MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)

LOOPBACK = "127.0.0.1"


@dataclass
class Person:
    """Who asks, signed in unless `sign_in` is None; what they were answered."""

    name: str
    sign_in: Callable[[], str] | None
    statuses: Counter[int] = field(default_factory=Counter)
    token: str = ""

    def headers(self) -> dict[str, str]:
        """What a request carries; wrong passwords that are made up come from another address than true ones."""
        said = {"X-Forwarded-For": "203.0.113.9"}
        if self.sign_in is not None:
            self.token = self.token or self.sign_in()
            said["Authorization"] = f"Bearer {self.token}"
        return said


@dataclass
class Asking:
    """One request after the other, each sent as each of these people. `names` are real ones, by the part of a path they are."""

    url: str
    document: dict[str, Any]
    names: dict[str, list[str]]
    people: Sequence[Person]
    asked: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    _turn: int = 0

    def ask_everything(self, examples: int, seeded: int, only: str = "") -> None:
        """An operation's example, and so many made-up requests, right ones and wrong ones; of one alone, by turns."""
        schema = schemathesis.openapi.from_dict(self.document, config=SchemathesisConfig.from_dict(_TOKENS_ARE_OURS))
        with requests.Session() as session:
            session.trust_env = False
            for number, operation in enumerate(_operations(schema)):
                if operation.label in NEVER_END or only not in operation.label:
                    continue
                for cases in operation.get_strategies_from_examples():
                    self._ask(cases, 1, seeded, session)
                right, wrong = (operation.as_strategy(generation_mode=mode) for mode in _MODES)
                made_up = [right, wrong] if examples > 1 else [wrong] if number % 2 else [right]
                asked = [self._ask(cases, examples, seeded, session) for cases in made_up]
                if not any(asked):  # what takes nothing cannot be asked wrongly
                    self._ask(right, 1, seeded, session)

    def _ask(self, cases: SearchStrategy[Case], examples: int, seeded: int, session: requests.Session) -> bool:
        """Whether there was anything to ask."""

        def one(case: Case) -> None:
            self._name_what_is_there(case)
            _keep_on_this_machine(case)
            for person in self.people:
                self._send(case, person, session)

        phases, checks = [Phase.generate], list(HealthCheck)
        bounded = settings(max_examples=examples, deadline=None, database=None, phases=phases, suppress_health_check=checks)
        try:
            seed(seeded)(bounded(given(cases)(one)))()
        except (Unsatisfiable, SkipTest):
            return False
        return True

    def _send(self, case: Case, person: Person, session: requests.Session) -> None:
        answer = case.call(base_url=self.url, session=session, headers=person.headers(), timeout=60)
        person.statuses[answer.status_code] += 1
        self.asked.add(case.operation.label)
        if answer.status_code == 401 or case.operation.path.endswith(("/auth/logout", "/password")):
            person.token = ""
        try:
            case.validate_response(answer, checks=CHECKS)
        except (Failure, FailureGroup) as failed:
            told = failed.exceptions if isinstance(failed, FailureGroup) else [failed]
            self.failures += [f"{person.name}: {case.operation.label}: {answer.status_code} {one}"[:700] for one in told]

    def _name_what_is_there(self, case: Case) -> None:
        """Two of three requests name something that there is: of a made-up name only its absence is told."""
        folder = case.operation.path.removeprefix("/api/v1/").partition("/")[0]
        for part in case.path_parameters or {}:
            real = self.names.get(part) or self.names.get(folder)
            self._turn += 1
            if real and self._turn % 3:
                number = int.from_bytes(hashlib.sha256(f"{self._turn}".encode()).digest()[:4])
                case.path_parameters[part] = real[number % len(real)]


def _operations(schema: Any) -> Iterator[APIOperation[Any, Any, Any, Any]]:
    for found in schema.get_all_operations():
        yield found.ok()


def _keep_on_this_machine(case: Case) -> None:
    """No made-up target leads elsewhere: what is checked or run there is tried on loopback."""
    if isinstance(case.body, dict) and isinstance(case.body.get("host"), str):
        case.body["host"] = LOOPBACK
