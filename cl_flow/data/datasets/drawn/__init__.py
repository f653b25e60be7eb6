"""The dataset that the project draws itself."""
