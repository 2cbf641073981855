"""The federated-learning client under audit: its local training, its defenses, and what an adversary observes."""
