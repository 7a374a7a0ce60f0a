"""Images, masks and targets: inventory, decoding, sampling, loading."""
