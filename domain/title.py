"""Is this a title? Free text for people beside the immutable slug."""

from domain.rejection import FieldError

MAX_TITLE = 200


def check_title(title: str, field: str = "title") -> list[FieldError]:
    """What is wrong with a title; empty when nothing is."""
    if len(title) > MAX_TITLE:
        return [FieldError(field, f"is longer than {MAX_TITLE} characters")]
    if not title.isprintable():
        return [FieldError(field, "contains a control or line-breaking character")]
    return []
