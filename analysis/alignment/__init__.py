"""Mixtures moved after their flow, beside refits and the joint model."""

from analysis.rooms import open_room

__getattr__, __dir__, __all__ = open_room(__name__, __file__, once="measure_alignment")
