"""What makes the site from what exists already."""
