"""How people sign in: by their municipality's own login, or by a local account with a password, one-time codes and passkeys.

It keeps no list of its own: what must be remembered of somebody on their way in travels with their browser, sealed; accounts,
second factors and sessions are in a store that the runtime hands in. It never says whether an account exists, never sends
anybody to another site but a declared login, and never keeps a secret that a hash can stand for.
"""
