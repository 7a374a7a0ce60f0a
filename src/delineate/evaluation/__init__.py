"""Scoring a model on a split."""
