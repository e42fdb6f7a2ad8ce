"""Who may: credentials become principals, and principals may or may not use a model.

Pure decisions over values. This room stores nothing (the ledger does), reads no clock (time is an
argument) and makes no randomness (secrets are handed to it). It knows `spec` and nobody else.
"""
