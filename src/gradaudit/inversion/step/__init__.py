"""One gradient of the matching loss with respect to a candidate."""
