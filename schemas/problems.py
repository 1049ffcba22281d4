"""What does each code mean to a caller? Code → HTTP status and title (RFC 9457 problem details). One table.

Clients and tests rely on the code; status and title follow from it. Every code that the domain, the command side or the API uses
has an entry: `tests/api/test_every_code_is_a_problem.py` looks for the missing ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from domain.rejection import FieldError


@dataclass(frozen=True, slots=True)
class Kind:
    """What a code means over HTTP; `retry_after_s` is said where the same request may simply be sent again later."""

    status: int
    title: str
    retry_after_s: int | None = None


TABLE: dict[str, Kind] = {
    # the request cannot be read
    "malformed_request": Kind(400, "This is no HTTP request"),
    "malformed_json": Kind(400, "The body is not JSON"),
    "malformed_form": Kind(400, "The body is not a form"),
    "malformed_header": Kind(400, "A header is malformed"),
    "malformed_if_match": Kind(400, "If-Match must be one strong quoted version or *"),
    "malformed_min_version": Kind(400, "Ops-Min-Version is malformed"),
    "malformed_min_position": Kind(400, "Ops-Min-Position is malformed"),
    "unknown_position": Kind(400, "There is no such position in the log"),
    "invalid_cursor": Kind(400, "The cursor is not one of this list"),
    "receive_timeout": Kind(408, "The request did not arrive in time"),
    "body_too_large": Kind(413, "The body is too large"),
    "head_too_large": Kind(431, "The head of the request is too large"),
    "event_too_large": Kind(413, "What the command causes is too large for the log"),
    "too_many_events": Kind(413, "The command would cause too many events"),
    "unsupported_media_type": Kind(415, "The body is of another type or encoding than is taken here"),
    # who asks, and may they
    "unauthenticated": Kind(401, "A valid access token is needed"),
    "invalid_credentials": Kind(401, "User name or password is wrong"),
    "invalid_refresh_token": Kind(401, "The refresh token is not valid"),
    "invalid_sign_in": Kind(401, "This sign-in was not begun here, is over or was tampered with"),
    "identity_refused": Kind(403, "The identity provider's user may not sign in here"),
    "permission_denied": Kind(403, "This is not permitted"),
    "lane_refused": Kind(403, "This actor may not send this command"),
    "rate_limited": Kind(429, "Too many requests or attempts", 1),
    "too_many_streams": Kind(429, "Too many live streams are open", 5),
    "too_many_waiting": Kind(429, "Too many requests wait for a version or a position", 1),
    # what is spoken of does not exist
    "not_found": Kind(404, "There is nothing here"),
    "method_not_allowed": Kind(405, "This method is not known here"),
    "target_not_found": Kind(404, "There is no such target"),
    "credential_not_found": Kind(404, "There is no such credential"),
    "job_not_found": Kind(404, "There is no such job"),
    "revision_not_found": Kind(404, "There is no such revision"),
    "run_not_found": Kind(404, "There is no such run"),
    "user_not_found": Kind(404, "There is no such user"),
    "identity_not_found": Kind(404, "The user is not an identity provider's"),
    "identity_provider_not_set": Kind(404, "No identity provider is set up here"),
    "role_not_found": Kind(404, "There is no such role"),
    "token_not_found": Kind(404, "There is no such API token"),
    "session_not_found": Kind(404, "There is no such session"),
    "signing_key_not_found": Kind(404, "There is no such signing key"),
    "event_not_found": Kind(404, "There is no such event"),
    "command_not_found": Kind(404, "There is no such command"),
    "projection_not_found": Kind(404, "There is no such projection"),
    # it does not fit the state
    "target_exists": Kind(409, "The target exists already"),
    "credential_exists": Kind(409, "The credential exists already"),
    "job_exists": Kind(409, "The job exists already"),
    "run_exists": Kind(409, "The run exists already"),
    "user_exists": Kind(409, "The user exists already"),
    "role_exists": Kind(409, "The role exists already"),
    "role_built_in": Kind(409, "The role is built in and stays as it is"),
    "role_removed": Kind(409, "The role was removed"),
    "too_many_roles": Kind(409, "There are too many custom roles"),
    "user_disabled": Kind(409, "The user is disabled"),
    "user_erased": Kind(409, "The user is erased, for good"),
    "own_account": Kind(409, "Nobody does this to the own account"),
    "user_linked": Kind(409, "The identity provider says how this user signs in and in which roles"),
    "identity_linked": Kind(409, "The identity provider's user has another name here"),
    "user_not_linked": Kind(409, "The name is another user's here"),
    "password_changed": Kind(409, "The password was changed meanwhile"),
    "last_administrator": Kind(409, "The last administrator stays"),
    "token_exists": Kind(409, "The API token was issued already"),
    "too_many_tokens": Kind(409, "The user has too many API tokens"),
    "target_retired": Kind(409, "The target is retired"),
    "credential_revoked": Kind(409, "The credential is revoked"),
    "only_signing_key": Kind(409, "No other key signs yet"),
    "too_many_signing_keys": Kind(409, "Too many signing keys are in force"),
    "credential_kind_differs": Kind(409, "The credential is of another kind"),
    "credential_rotated_meanwhile": Kind(409, "The credential was rotated meanwhile"),
    "job_archived": Kind(409, "The job is archived"),
    "job_revised_meanwhile": Kind(409, "The job was revised meanwhile"),
    "job_is_running": Kind(409, "The job is running and forbids overlapping runs"),
    "run_finished": Kind(409, "The run is finished"),
    "run_planned": Kind(409, "The run is planned already"),
    "run_not_planned": Kind(409, "The run is not planned yet"),
    "run_is_ending": Kind(409, "The run is being ended"),
    "run_claimed": Kind(409, "The run is held by another executor"),
    "stale_epoch": Kind(409, "The executor does not hold the run under this epoch"),
    "plan_out_of_order": Kind(409, "Another part of the plan is due"),
    "step_not_startable": Kind(409, "The step cannot start now"),
    "step_not_running": Kind(409, "The step is not running"),
    "report_not_late": Kind(409, "The report is not late"),
    "too_many_checks": Kind(409, "Too many checks of this target are open"),
    "plan_repeats_target": Kind(409, "The plan holds a target twice"),
    "too_many_runs_waiting": Kind(409, "Too many runs of this job are waiting"),
    "version_conflict": Kind(412, "The version is another one"),
    # the request is read and wrong
    "validation_failed": Kind(422, "The request is not valid"),
    "unstorable_text": Kind(422, "The request contains text that cannot be stored"),
    "idempotency_key_reused": Kind(422, "The Idempotency-Key was used before for another command"),
    "malformed_command": Kind(422, "The command is malformed"),
    "wrong_stream": Kind(422, "The command is for another kind of stream"),
    "malformed_stream": Kind(422, "There can be no stream of this name"),
    "unknown_command": Kind(422, "There is no such command"),
    "undecodable_command": Kind(422, "The command could not be read"),
    # ours
    "internal_error": Kind(500, "Something went wrong here"),
    "log_unavailable": Kind(503, "The log cannot be reached; nothing was written", 2),
    "result_unknown": Kind(503, "It is not known whether the command was written", 2),
    "read_models_unavailable": Kind(503, "The read models cannot be asked", 2),
    "vault_unavailable": Kind(503, "The vault cannot be asked", 2),
    "identity_provider_unavailable": Kind(503, "The identity provider cannot be asked", 5),
    "sessions_unavailable": Kind(503, "Sessions cannot be asked", 2),
    "projection_lag": Kind(503, "The read model has not come so far", 1),
    "overloaded": Kind(503, "Too many requests are being answered", 1),
    "shutting_down": Kind(503, "This server is stopping", 1),
}


def problem(code: str, detail: str, errors: Sequence[FieldError], correlation_id: str) -> dict[str, Any]:
    """The problem details of a code; an unknown one, from a newer command side, is told as a conflict under its own name."""
    kind = kind_of(code)
    body: dict[str, Any] = {
        "type": f"urn:opsconductor:problem:{code}",
        "title": kind.title,
        "status": kind.status,
        "code": code,
        "detail": detail or kind.title,
        "correlation_id": correlation_id,
    }
    if errors:
        body["errors"] = [{"field": error.field, "message": error.message} for error in errors]
    return body


def kind_of(code: str) -> Kind:
    """What a code means."""
    return TABLE.get(code, Kind(409, "The command was rejected"))
