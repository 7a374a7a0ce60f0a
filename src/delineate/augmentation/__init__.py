"""Random changes of training patches."""
