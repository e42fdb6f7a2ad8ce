"""The same document as text for Kubernetes: what a community needs when it has outgrown one machine.

`rendering` makes manifests of a `Spec`, one module per project that the cluster runs (Gateway API and Envoy Gateway in
`entrance`, `envoys`, `questions` and `patches`, Envoy AI Gateway in `routes`, Kueue in `queues`, KServe in `serving` and
`runtimes`, CloudNativePG in `database`, the Prometheus operator in `watching`, ourselves in `desk`); `traps` reads manifests,
ours or foreign, and says what in them silently does nothing; `comparing` says what differs between two sets; `sizes` says what
devices the declared models need and what a guarantee is worth.

It never speaks to a cluster, reads no file and knows no clock: text and values come in, text and values go out.
"""
