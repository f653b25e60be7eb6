from .conclude import expansion_drops as expansion_drops
from .conclude import expansion_table as expansion_table
from .conclude import expansion_terms as expansion_terms
from .measure import measure_expansion as measure_expansion
from .plot import plot_expansion as plot_expansion
from .plot import plot_expansion_size as plot_expansion_size
from .plot import plot_stages as plot_stages
from .say import summarise_expansion as summarise_expansion
