"""What serving a model costs: memory, prefill, decode, batches in steady state, queues."""
