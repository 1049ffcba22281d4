"""What does each role do? One module a role, made from the house; none knows whether the others run in this process.

A process imports its own role only: what the others need costs a start up to a second.
"""
