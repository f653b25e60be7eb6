"""Witnesses of forgetting: what the flow still holds, block by block and on the way."""

from analysis.rooms import open_room

__getattr__, __dir__, __all__ = open_room(__name__, __file__)
