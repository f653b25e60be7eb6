from .conclude import order_means as order_means
from .conclude import order_table as order_table
from .measure import order_study as order_study
from .measure import ordered_stream as ordered_stream
from .plot import plot_orders as plot_orders
from .say import summarise_orders as summarise_orders
