"""Operators, one file for each family; importing this package registers them all.

What a definition looks like: ``suiren/operator.py``. How to add one: ``docs/architecture.md``.
"""
