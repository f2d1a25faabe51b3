"""Generators and discriminators: tensors in, tensors out; they know no data, loss or training."""
