"""Muster beside what people would use instead; see ../README.md."""
