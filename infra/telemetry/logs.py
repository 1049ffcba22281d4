"""How does the process log? One structured record a line on standard error; control characters in values are escaped by JSON."""

import logging
import sys

import structlog

from infra.telemetry.seldom import Seldom, but_for_numbers, to_the_letter

_SELDOM = {"aiokafka": but_for_numbers, "infra.kafka": to_the_letter, "commands.owner": to_the_letter}
"""Who says the same many times a second while a broker is away, and which of it is the same."""


def set_up_logs(level: str, role: str) -> None:
    """Send every logger's records through one JSON formatter. Raises `ValueError` for an unknown level."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _with_role(role),
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    for loggers, alike in _SELDOM.items():  # at the handler: a logger's filter sees nothing of those below it
        handler.addFilter(Seldom(loggers, alike, handler.handle))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("paramiko", "aiokafka", "faust", "mode", "httpx2", "httpcore2", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def _with_role(role: str) -> structlog.typing.Processor:
    def add(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"role": role, **event}

    return add
