"""Which replicas to serve a model with: every split over a cluster, at a rate of requests and within latency limits."""
