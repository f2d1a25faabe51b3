"""Metrics of generated images: functions on pairs of images and on sets of them."""
