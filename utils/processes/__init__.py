"""Processes: every public function of the modules in here is one.

Owns no collection. May call: nobody.

A process is a plain `def` with types and a docstring. A new file is enough:
`utils/process_registry.py` finds it, and derives path, schema, validation and
endpoint. Modules are read by web workers too, which stay small: what is heavy
(SciPy, scikit-learn, Matplotlib) is imported inside the functions that use it.
"""
