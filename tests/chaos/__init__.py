"""Chaos on real runs: steps over SSH while all is killed, frozen and started again; the targets' files are the witness.

world.py       Kafka, Postgres, Redis, two SSH servers and every role a process of its own, by name
fleet.py       jobs whose every step writes down on its target when it begins and ends
clients.py     who starts and cancels runs, and writes down what was told
faults.py      what goes wrong, drawn from a seed
witness.py     pure: do the targets' files say what the log says?
run.py         one run, from its seed to its verdict
"""
