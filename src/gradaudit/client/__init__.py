"""The federated-learning client under audit, which holds the private examples; the attacks never import it."""
