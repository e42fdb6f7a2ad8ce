"""The suites: who asks for what, drawn from a seed."""
