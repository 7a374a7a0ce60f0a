"""Examine a data set: every fault, with its files, the reason it matters and the fix."""
