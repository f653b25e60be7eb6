"""The site: pages that are written, and what makes the others."""
