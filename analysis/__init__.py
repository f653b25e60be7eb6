"""Runs to tables, tables to sentences and pictures."""

from analysis.rooms import open_house
from cl_flow.moved import follow_moves

follow_moves()
__getattr__, __dir__, __all__ = open_house(__name__, __file__)
