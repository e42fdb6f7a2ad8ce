"""The door to telemetry: every instrument is declared once, in `catalogue`, and counted here.

Metrics, traces and logs hold no content. The path of a request pays a few microseconds and never waits.
"""
