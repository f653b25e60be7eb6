"""Detection of each task, step after step."""

from analysis.rooms import open_room

__getattr__, __dir__, __all__ = open_room(__name__, __file__)
