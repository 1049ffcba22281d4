"""React to events, answer with commands: executor, sweeper. A pure core each, and thin bindings to Faust and asyncio."""
