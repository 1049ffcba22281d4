"""In whose name did it happen?"""

from schemas.event_envelope import EventEnvelope


def person_of(envelope: EventEnvelope) -> str:
    """The name of whoever stands behind the event: the one it was done for, else the one who did it."""
    return (envelope.on_behalf_of or envelope.actor).name
