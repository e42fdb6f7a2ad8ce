"""The door to SQL: keys (as hashes), usage by ticket, at most once; the audit trail; and what is forgotten when.

Nobody else speaks SQL, and nothing here is on the path of a request. It stores metadata only: who, which
model, how many tokens, when, how it ended. It knows `spec` and the values of `access`.
"""
