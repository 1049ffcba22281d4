"""The rules of OpsConductor: pure deciders over events. No I/O, clock, ids or randomness."""
