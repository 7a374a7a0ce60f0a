"""Counts, curves and scores."""
