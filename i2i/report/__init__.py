"""Sheets of images (PNG) and pages (HTML) about runs and results."""
