"""Fine-tuning: each task is trained on its own images alone.

Only its class centers are added.
"""

__all__ = ["Finetune"]

from cl_flow.strategies.base import STRATEGIES, Strategy


@STRATEGIES("finetune")
class Finetune(Strategy):
    """Continual learning as it stands: the lower bound."""

    any_model = True
    needs_boundaries = False
