from .conclude import accessibility_finding as accessibility_finding
from .conclude import accessibility_terms as accessibility_terms
from .measure import measure_accessibility as measure_accessibility
from .plot import plot_accessibility as plot_accessibility
