"""The tiny network and the private pictures of the federations in these tests."""

import torch
from torch import nn

SIDE, CLASSES, RATE = 8, 4, 0.1


class Net(nn.Sequential):
    """Smooth, with BatchNorm whose statistics and counter leave with the weights, and one linear head."""

    def __init__(self):
        first = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Sigmoid())
        super().__init__(first, nn.Flatten(), nn.Linear(6 * SIDE * SIDE, CLASSES))


def net():
    torch.manual_seed(0)
    return Net()


def plain():
    """Without BatchNorm, so that one picture can be read off the update."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(6 * SIDE * SIDE, CLASSES))


def private(client):
    """Return the picture and the label of one client."""
    generator = torch.Generator().manual_seed(100 + client)
    return torch.rand(1, 1, SIDE, SIDE, generator=generator), torch.tensor([client % CLASSES])


def trained(model, client, steps=1):
    """Train in place with plain SGD on all examples of the client."""
    x, y = private(client)
    optimiser = torch.optim.SGD(model.train().parameters(), RATE)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model
