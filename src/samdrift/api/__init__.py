"""The door to people and apps over HTTP: what the gateway does not hand to an engine.

`/v1/models` (what this key may use), `/healthz`, and the local administrative routes. It decides nothing: the
runtime hands it functions to call.
"""
