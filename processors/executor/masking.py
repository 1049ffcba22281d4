"""Which parts of a step's output would give a secret away?

Every form in which a secret commonly shows: whole, base64 (at each of the three alignments, also wrapped and for URLs), hex,
URL-encoded and JSON-escaped; the lines of a secret that has several. Each becomes `***`; forms that overlap become one mask.

A stream is masked as it comes, however it is cut into pieces: only a tail that could begin a form is held back until it is
resolved or the stream ends. Streams are masked one by one: halves of a secret on stdout and stderr are not recognised.
"""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = "***"

SHORTEST = 4
"""A secret is masked whole however short; its other forms and its single lines only from so many characters on: shorter ones
stand everywhere in ordinary text."""

_WRAPS = (76, 64)
_ESCAPE = re.compile("%[0-9A-F]{2}")


def forms_of(secret: str) -> set[str]:
    """Every text that gives `secret` away, itself included; none for a blank one."""
    if not secret.strip():
        return set()
    wholes = {secret, secret.strip()}
    found: set[str] = set()
    for whole in wholes:
        raw = whole.encode("utf-8", "replace")
        found |= {raw.hex(), raw.hex().upper(), *_base64(raw), *_url(whole), *_json(whole)}
    for line in map(str.strip, secret.splitlines()):
        if len(line) >= SHORTEST and not line.startswith("-----"):
            found |= {line, *_url(line), *_json(line)}
    return wholes | {form for form in found if len(form) >= SHORTEST}


def _base64(raw: bytes) -> Iterator[str]:
    for encode in (b64encode, urlsafe_b64encode):
        whole = encode(raw).decode()
        yield whole
        yield whole.rstrip("=")
        for width in _WRAPS:
            if len(whole) > width:
                yield from (whole[at : at + width] for at in range(0, len(whole), width))
        for before in range(3):
            # Characters that also depend on what stands before or after the secret are left out.
            characters = encode(bytes(before) + raw).decode()
            yield characters[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]


def _url(text: str) -> Iterator[str]:
    for encoded in (quote(text, safe=""), quote(text), quote_plus(text)):
        yield encoded
        yield _ESCAPE.sub(lambda escape: escape[0].lower(), encoded)


def _json(text: str) -> Iterator[str]:
    for escaped in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        yield escaped
        yield escaped.replace("/", "\\/")


class Forms:
    """All forms of some secrets, ready to be looked for. Shared by every stream of a run; never changes."""

    def __init__(self, secrets: Iterable[str]) -> None:
        every = {form for secret in secrets for form in forms_of(secret)}
        self._forms = tuple((form, _period(form)) for form in sorted(every))
        self._by_head: dict[str, list[str]] = {}
        for form in sorted(every):
            self._by_head.setdefault(form[:SHORTEST], []).append(form)
        self._longest = max(map(len, every), default=0)
        self._beginnings = {head[:length] for head in self._by_head for length in range(1, min(SHORTEST, len(head)))}

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where forms stand in `text`: begin and end, in order, overlapping ones joined."""
        found: list[tuple[int, int]] = []
        for form, period in self._forms:
            at = text.find(form)
            while at >= 0:
                found.append((at, at + len(form)))
                at = text.find(form, at + period)
        return _joined(sorted(found))

    def open_at(self, text: str) -> int:
        """Where the longest tail of `text` begins that could be the beginning of a form; its length when there is none."""
        # Most of what is written holds no form's head: that is seen far faster than every form is tried.
        near = text[max(0, len(text) - self._longest) :]
        heads = [head for head in self._by_head if head in near]
        candidates = [_open_tail(text, form, head) for head in heads for form in self._by_head[head]]
        for length in range(min(SHORTEST - 1, len(text)), 0, -1):
            if text[-length:] in self._beginnings:
                candidates.append(len(text) - length)
                break
        return min(candidates, default=len(text))


def _open_tail(text: str, form: str, head: str) -> int:
    """Where the longest tail of `text` begins that is a proper beginning of `form`; the length of `text` when there is none."""
    at = text.find(head, max(0, len(text) - len(form) + 1))
    while at >= 0:
        if form.startswith(text[at:]):
            return at
        at = text.find(head, at + 1)
    for length in range(min(len(head) - 1, SHORTEST - 1, len(text)), 0, -1):
        if text.endswith(head[:length]):
            return len(text) - length
    return len(text)


def _period(form: str) -> int:
    """By how much two occurrences of `form` that overlap are apart at least; its length when they cannot overlap."""
    return 1 + _open_tail(form[1:], form, form[:SHORTEST])


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for begin, end in spans:
        if joined and begin < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


class Masker:
    """Masks one stream as it comes."""

    def __init__(self, forms: Forms) -> None:
        self._forms = forms
        self._held = ""
        self._covered = 0  # how much of the held text is part of a mask that is already out

    def feed(self, text: str) -> str:
        """What may be shown now that `text` has come."""
        if not text:
            return ""
        text = self._held + text
        return self._masked(text, self._forms.open_at(text))

    def end(self) -> str:
        """What is left when the stream ends."""
        return self._masked(self._held, len(self._held)) if self._held else ""

    def _masked(self, text: str, until: int) -> str:
        shown: list[str] = []
        at = self._covered
        for begin, end in self._forms.spans(text):
            if begin >= until:
                break
            if begin >= at:
                shown += (text[at:begin], MASK)
            at = max(at, end)
        if at < until:
            shown.append(text[at:until])
        self._held, self._covered = text[until:], max(0, at - until)
        return "".join(shown)
