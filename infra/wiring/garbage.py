"""How often does Python look for garbage that its counters cannot see?

By default after every 700 new objects, and through all that lives when a quarter has been added. A batch of commands makes
hundreds of thousands of objects that live until it is committed, and none of them in a cycle: looking through them again and
again took a third of an owner's time.
"""

import gc

_NEW_OBJECTS = 50_000
_YOUNG_PER_OLDER = 20


def look_seldom() -> None:
    """Leave out what exists now for good, and look only after many new objects; garbage in cycles waits a little longer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNG_PER_OLDER, _YOUNG_PER_OLDER)
    gc.enable()
