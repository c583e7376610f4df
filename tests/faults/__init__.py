"""Faults: what is killed, held, cut off or full, and what must hold then."""
