"""Gaussian sufficient statistics."""
