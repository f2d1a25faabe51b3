"""Generators and discriminators: tensors in, tensors out, no knowledge of data, losses or training."""
