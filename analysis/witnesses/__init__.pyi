from .conclude import accessibility_finding as accessibility_finding
from .conclude import accessibility_terms as accessibility_terms
from .conclude import representation_finding as representation_finding
from .conclude import representation_levels as representation_levels
from .measure import measure_accessibility as measure_accessibility
from .measure_moves import measure_representations as measure_representations
from .plot import plot_accessibility as plot_accessibility
from .plot import plot_representations as plot_representations
