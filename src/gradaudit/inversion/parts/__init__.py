"""The parts that attacks are composed of, one package for each kind."""
