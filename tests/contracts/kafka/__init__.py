"""What only the Kafka adapter answers for: fencing, processes that die or sleep in a transaction, topics, the client."""
