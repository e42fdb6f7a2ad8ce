"""The soak: many requests through the real service while its parts are killed, and every account checked afterwards.

`make soak` starts `samdrift up` with the real Envoy and the real control plane before a fake engine, lets clients ask,
wait and hang up, kills engine, control plane and Envoy with SIGKILL at random moments, and then compares three accounts
that know nothing of each other: what each client saw, what the engine made, what the ledger says. It never looks inside
the service; what it knows comes from its front door, its metrics, its data folder and `/proc`.
"""
