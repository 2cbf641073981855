"""The parts that attacks are made of, one room for each kind."""
