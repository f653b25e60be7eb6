"""Runs to tables to Axes: the measurements and pictures that notebooks are composed of."""
