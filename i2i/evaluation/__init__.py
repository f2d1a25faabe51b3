"""Measures of pictures: functions on pairs of images and on sets of them."""
