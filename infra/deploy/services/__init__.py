"""Starts Kafka, Postgres, Redis and sshd natively on loopback, for tests and for a cluster on one machine.

    kafka.py postgres.py redis.py sshd.py     one server each: start(), stop(), kill9(), an address
    kafka_jars.py                             the broker's jars, fetched once through Maven
    kept_ports.py                             each server where it was before
    port_holder.py                            who listens on a port
    together.py                               all of them: `running` in the foreground, `up` and `down` by pid

Everything listens on 127.0.0.1 only and keeps its data below one folder.
"""
