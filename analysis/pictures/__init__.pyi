from .conclude import CHOICES as CHOICES
from .conclude import pick_images as pick_images
from .measure import examples as examples
from .measure import measure_maps as measure_maps
from .measure import read_pictures as read_pictures
from .plot import plot_examples as plot_examples
from .plot import plot_maps as plot_maps
