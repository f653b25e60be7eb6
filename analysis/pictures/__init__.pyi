from .measure import examples as examples
from .plot import plot_examples as plot_examples
