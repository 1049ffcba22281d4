"""A Jepsen of our own on one machine: real Kafka, real processes, faults by seed, and what clients saw held against the log.

proxy.py       the network between Kafka's clients and each broker, that delays, cuts, holds and releases late
armed.py       a role as it is, started with crash points, a clock that jumps, and bugs that are to be found
world.py       brokers, Postgres, Redis and roles, each killed, frozen and started by name
faults.py      what goes wrong, drawn from a seed
clients.py     who writes and reads, and writes down what was told
history.py     what was written down
collect.py     the whole log, read by a plain consumer
explain.py     pure: does the log explain everything that clients saw?
run.py         one run, from its seed to its verdict
"""
