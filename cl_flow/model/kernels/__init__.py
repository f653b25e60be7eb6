"""Hand-written kernels of the hot path, tested against the plain formulas."""
