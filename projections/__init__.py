"""The only writer of read models: events to rows, positions in the same SQL transaction, rebuildable at any time."""
