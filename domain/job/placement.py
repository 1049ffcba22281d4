"""Why may a placeholder not stand where it stands? The reasons, each with a stable code and what to write instead."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """A kind of place without placeholders; `code` is stable, `text` for people. `numbers_may`: digits are harmless there."""

    code: str
    text: str
    numbers_may: bool = False


IN_QUOTES = Reason("placeholder_in_quotes", "stands in quotes; close them before it: it brings its own")
IN_HERE_DOCUMENT = Reason(
    "placeholder_in_here_document",
    "stands in a here-document; write its variable there ($OPS_PARAM_…, delimiter unquoted), or use printf '%s\\n' instead",
)
IN_EXPANSION = Reason(
    "placeholder_in_expansion",
    "stands in arithmetic, a subscript, ${ }, backquotes or an extended pattern; put it into a variable first (name={{ … }}),"
    " of type integer if it is to be calculated with",
)
EVALUATED = Reason(
    "placeholder_evaluated",
    "is taken for a name or an expression, in which bash runs commands; only a parameter of type integer may stand here",
    numbers_may=True,
)
AS_CODE = Reason(
    "placeholder_as_code",
    "is taken for code; hand it over as an argument instead, as in sh -c 'printf %s \"$1\"' sh {{ … }}",
    numbers_may=True,
)
AS_COMMAND = Reason("placeholder_as_command", "says which command runs; write the command, or a case of those that may be meant")
TYPED = Reason(
    "placeholder_assigned_typed",
    "is assigned where bash evaluates or follows it (declare -i, declare -n, RANDOM, …), or to what says how the script goes on"
    " (PATH, IFS, BASH_ENV, …)",
    numbers_may=True,
)
UNCLEAR = Reason(
    "placeholder_unclear",
    'stands where it cannot be told what becomes of it; put it into a variable first (name={{ … }}) and use "$name"',
)


def unread(why: str, line: int) -> Reason:
    """The script could not be read on from `line`, so what comes after it is not known to be safe."""
    return Reason("placeholder_unclear", f"stands where the script cannot be followed: {why} (line {line})")
