"""Where private examples come from, and what differs between images, text and rows of a table."""
