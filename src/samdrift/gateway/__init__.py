"""The door to Envoy: what it is told (snapshot, publishing), what it asks (admission), what it reports (settlement).

Prompts and answers never enter this room: Envoy tells it who asked, for which model, how large, and
afterwards how many tokens it took. It never starts engines, never speaks SQL and never counts metrics
itself: it tells a `Witness`, and the runtime decides who listens.
"""
