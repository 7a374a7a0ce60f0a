"""Measure a data set: sizes, channels, class balance, object size and thinness."""
