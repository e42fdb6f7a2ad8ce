"""Measurements: what a request costs on its whole way, and how fair the shares are.

Nothing here is part of the product, and nothing in the product imports it. Every figure is taken from
real processes (the product as `samdrift up` runs it, the same Envoy, a fake engine that answers at once);
machines are noisy, so rounds are interleaved and medians and ratios are what to believe.
"""
