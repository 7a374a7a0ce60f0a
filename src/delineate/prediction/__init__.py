"""From images to probabilities and masks.

Import from the modules: `predict` (files to files), `predictor` (pixels to probabilities and
masks), `engines` (what computes the logits).
"""
