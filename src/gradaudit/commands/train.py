"""`gradaudit train`: the networks that attacks with a prior need, trained on images that are like the client's."""

from __future__ import annotations

import typer

from . import train_auto_encoder, train_denoiser, train_generator, train_inverter

KINDS = (train_generator, train_auto_encoder, train_denoiser, train_inverter)
"""One module for each kind of network."""


def add_to(app: typer.Typer) -> None:
    """Register the group of commands with `app`, and one command for each kind of network with the group."""
    group = typer.Typer(
        help="Train a network that attacks with a prior need, on public images that are like the client's.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for module in KINDS:
        module.add_to(group)
    app.add_typer(group, name="train")
