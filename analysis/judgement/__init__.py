"""One verdict from all witnesses: what became of a task that was learned."""

from analysis.rooms import open_room

__getattr__, __dir__, __all__ = open_room(__name__, __file__)
