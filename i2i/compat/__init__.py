"""Readers of other toolkits' files: each turns foreign weights into weights of `i2i.networks`."""
