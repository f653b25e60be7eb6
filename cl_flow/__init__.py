"""Continual normalizing-flow anomaly detection: HGAD trained task after task."""

import lazy_loader

from cl_flow.moved import follow_moves
from cl_flow.settings import set_defaults

set_defaults()
follow_moves()
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
