"""What is a refresh token, and which one comes after it? `<session>.<random>.<proof>`, the proof made with a key of ours.

What somebody made up is told from a token that was replaced: only the latter is a sign of theft. The next token follows from the
one it replaces, so that asked for twice, because an answer got lost or two asked at once, it is the same.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class RefreshToken:
    """A token of ours. `secret` is all of it that is secret."""

    session_id: str
    secret: str

    @property
    def text(self) -> str:
        """The token as it is handed out."""
        return f"{self.session_id}.{self.secret}"


def first(key: bytes, session_id: str, random: str) -> RefreshToken:
    """The token that a session begins with, of 256 `random` bits written without a dot."""
    return RefreshToken(session_id, f"{random}.{_mac(key, 'proof', session_id, random)}")


def after(key: bytes, token: RefreshToken) -> RefreshToken:
    """The token that replaces `token`."""
    return first(key, token.session_id, _mac(key, "next", token.session_id, token.secret))


def presented(key: bytes, text: str) -> RefreshToken | None:
    """The token that `text` is; None for what was never one of ours."""
    session_id, _, secret = text.partition(".")
    genuine = first(key, session_id, secret.partition(".")[0])
    return genuine if hmac.compare_digest(genuine.text.encode(), text.encode()) else None


def _mac(key: bytes, use: str, *parts: str) -> str:
    said = "\0".join(("refresh token", use, *parts)).encode()
    return base64.urlsafe_b64encode(hmac.new(key, said, hashlib.sha256).digest()).rstrip(b"=").decode()
