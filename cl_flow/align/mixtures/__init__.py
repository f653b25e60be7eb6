"""Gaussian mixtures learnt incrementally."""
