"""How large is a seed's world? Mostly small and dense, so that many can be seen; some are large, and one role may be alone.

Short ones, too: who there is, how much fits a batch and which faults there are is drawn once a world, and so more often (as in
swarm testing: Groce et al., ISSTA 2012).
"""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """How many of everything; how long all goes well first (`quiet_s`), then wrong (`faulty_s`); pauses between deeds and faults.

    `real_database`: the read models lie in a file behind real engines, else in memory (`tests.support.quick_engine`); that takes
    longer and gives the same histories, which a test of its own sees to.
    """

    shards: int
    owners: int
    executors: int
    sweepers: int
    clients: int
    targets: int
    quiet_s: float
    faulty_s: float
    pace_s: float
    calm_s: float
    real_database: bool


def world_of(dice: Random) -> World:
    """The world of a seed."""
    large = dice.random() < 0.05
    return World(
        shards=dice.choice((1, 2, 3)),
        owners=3 if large else dice.choice((1, 2, 2)),
        executors=3 if large else dice.choice((1, 2, 2)),
        sweepers=2 if large else dice.choice((1, 1, 1, 2)),
        clients=3 if large else dice.choice((1, 1, 2)),
        targets=6 if large else dice.choice((3, 3, 4, 6)),
        quiet_s=dice.choice((0.0, 2.5)),
        faulty_s=30.0 if large else dice.choice((4.0, 5.0, 7.0)),
        pace_s=dice.choice((1.0, 2.0, 4.0)),
        calm_s=dice.choice((0.7, 1.5, 4.0)),
        real_database=dice.random() < 0.01,
    )
