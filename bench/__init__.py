"""Benchmarks, run on demand: what Muster costs beside a bare app."""
