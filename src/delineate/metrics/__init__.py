"""Counts, curves and scores.

Import from the modules: `delineate.metrics.confusion` and `delineate.metrics.curves`.
"""
