"""The door to processes and model weights: drivers, weights, supervising.

It starts, watches, restarts and drains engine processes and reports the `Fleet`. It never decides who
may use a replica, and it never reads what passes through one.
"""
