"""Training, evaluation and benchmarks: run from a clone, never installed."""
