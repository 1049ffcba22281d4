"""A user: a person or a service account, who may sign in or carry API tokens, in some roles.

All users live in one shard, so that the rule "the last administrator stays" is exact: whoever decides sees who else is one. Roles
live there, too: one that is granted is there at that moment.
Passwords and tokens are never here: the vault keeps their hashes, under ids that may be seen. Nor is what says who a person is,
so that it can be erased: the vault keeps titles, and whom an identity provider names; of that a keyed digest is here, too.
(Events from before hold both in clear.)
"""
