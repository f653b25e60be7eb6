"""The order of the categories, and what of a method's rank is its doing."""

from analysis.rooms import open_room

__getattr__, __dir__, __all__ = open_room(__name__, __file__)
