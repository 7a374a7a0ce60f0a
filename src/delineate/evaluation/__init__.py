"""Scoring a model on a split.

Import from the modules: `evaluate` (a model and a data set to files), `scoring` (a predictor and
samples to scores), `thresholds` and `report`.
"""
