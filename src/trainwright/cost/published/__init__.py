"""Published measurements, read from tables into what the cost model can price."""
