"""Implements `processors.executor.connector.Connector` on OpenSSH targets: fabric opens, paramiko channels run.

connector       the port: asyncio outside, bounded daemon threads inside
step            how does one step run to its end
pool, opening   which open connection may a step use, and how is one opened
payload, remote what crosses the wire, and what reads it on the target
"""
