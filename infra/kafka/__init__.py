"""Implements CommandSender, Outcomes, OwnedShards, EventReader and RecordSender on Apache Kafka, through confluent-kafka.

    log.py           KafkaLog: all ports of one opened log
    settings.py      KafkaLogSettings, and the clients' configurations made of them
    topics.py        creates the topics, and refuses those that differ
    producing.py     records outside of transactions; sender.py and records.py are the two ports on top
    consuming.py     records of assigned partitions; reader.py and outcomes.py are the two ports on top
    owned_shards.py  the thread that owns consumer and transactional producer: lanes.py takes, transaction.py commits
    verdict.py       what to do about an error: the same call again, abort, or start over
    watchdog.py      ends the process when that thread hangs

The process that owns shards has exactly one transactional producer and one group consumer, both used by one thread (HAZARDS
R3, R12). A take-over is fenced twice: by the group's generation, which goes with the consumed offsets, and by the producer's
epoch under the instance's stable transactional id.
"""
