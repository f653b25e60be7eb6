from .conclude import apparent_drift as apparent_drift
from .measure import latent_facts as latent_facts
from .measure import measure_embedding as measure_embedding
from .plot import plot_apparent_drift as plot_apparent_drift
from .plot import plot_embedding as plot_embedding
from .plot import plot_embedding_steps as plot_embedding_steps
from .say import summarise_embedding as summarise_embedding
