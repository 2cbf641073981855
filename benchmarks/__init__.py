"""Side-by-side speed and memory measurements; run them as modules from the root of the checkout."""
