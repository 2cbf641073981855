"""Training of the networks that attacks use: tensors in, a network out, without data sources and commands."""
