"""Two modalities compared with one: MGIA, its variants and its baselines (Liu et al., 2023)."""

from __future__ import annotations

from ._definition import Comparison, Figure, Study, StudyCurve, Table
from ._mgia_cells import LOOKS, Effort, LookCell, Method, MgiaCell

METHODS: tuple[Method, ...] = ("mgia", "no-kd", "splicing", "dlg", "inverting-gradients", "grnn", "fused")
SETS = ("cifar100", "fashion-mnist", "flowers", "flickr8k")
EVERYWHERE = ("photographs",)  # included in the dependencies


def _cells(sets: tuple[str, ...], methods: tuple[Method, ...], effort: Effort) -> tuple[MgiaCell, ...]:
    return tuple(MgiaCell(data, method, effort=effort) for data in sets for method in methods)


def _others(effort: Effort) -> tuple[MgiaCell, ...]:
    """Return cells that measure the effect of inconsistencies in the authors' code, on CIFAR-100."""
    return (
        MgiaCell("cifar100", "mgia as published", effort=effort),
        MgiaCell("cifar100", "mgia", "plain", effort),
        MgiaCell("cifar100", "mgia cosine", "plain", effort),
        MgiaCell("cifar100", "no-kd", "plain", effort),
    )


def _looks(data: str, methods: tuple[Method, ...], effort: Effort) -> tuple[LookCell, ...]:
    return tuple(LookCell(MgiaCell(data, method, effort=effort), step) for method in methods for step in LOOKS)


RIVALS: tuple[Method, ...] = ("no-kd", "splicing", "dlg", "inverting-gradients", "grnn")
DRAWN: tuple[Method, ...] = ("mgia", "dlg", "splicing", "fused")


def _figure(data: str, effort: Effort) -> Figure:
    curves = tuple(
        StudyCurve(method, "apsnr", tuple((cell.step, cell.name) for cell in _looks(data, (method,), effort)))
        for method in DRAWN
    )
    return Figure(f"PSNR of the image over the steps, {data}; dlg sees one modality", "step", "dB", curves)


def _core(effort: Effort) -> tuple[MgiaCell | LookCell, ...]:
    return (*_cells(SETS, METHODS, effort), *_looks("cifar100", DRAWN, effort))


def _claims() -> tuple[Comparison, ...]:
    """Return the claims that MGIA is better than every other attack in images and in labels."""
    return tuple(
        Comparison(f"{data}: MGIA has {what} than {rival}", f"{data}, mgia", f"{data}, {rival}", column)
        for data in (*SETS, *EVERYWHERE)
        for rival in RIVALS
        for what, column in (("better images", "apsnr"), ("more correct labels", "ra"))
    )


STUDY = Study(
    name="mgia",
    title="Images and sentences from two updates of the same example",
    paper="MGIA (Liu et al., AAAI 2023 student abstract)",
    about="A client has an image, a sentence and one label for both, and trains a network on each: DLG's LeNet and a "
    "sentence CNN. The adversary sees both gradients of one example and knows only the word vectors. MGIA inverts the "
    "text first and distils its labels into the inversion of the image. One measurement is one example.",
    cells={
        "quick": (*_cells(EVERYWHERE, METHODS, "short"), *_looks("photographs", DRAWN, "short")),
        "default": _core("short"),
        "long": (*_core("short"), *_others("short")),
        "paper": (*_core("paper"), *_others("paper")),
    },
    repeats={"quick": 3, "default": 4, "long": 12, "paper": 50},
    tables=(
        Table(
            "Image (APSNR in dB, ours and as in the authors' code), sentence (RR) and label (RA)",
            {
                "APSNR": "apsnr",
                "APSNR as published": "apsnr_published",
                "RR sentence": "rr_sentence",
                "RR token": "rr_token",
                "RA": "ra",
            },
            best="column",
        ),
    ),
    figures=(_figure("photographs", "short"), _figure("cifar100", "short")),
    comparisons=_claims(),
    caveats=(
        "The values of the abstract's table were not available, so no published values are shown. The abstract claims "
        "that MGIA has the best quality of both modalities and of the labels.",
        "The word vectors are learnt from the descriptions and the available text; the authors' vectors are not "
        "published.",
        "Without knowledge distillation (no-kd), the image phase is DLG, so its APSNR equals that of dlg by "
        "construction. The text phase is the same in mgia, no-kd and dlg, so their RR is equal too.",
        "Inverting Gradients runs 480 steps and GRNN 200, except at scale paper. Inverting Gradients infers the label "
        "from the update (iDLG). GRNN reconstructs images only.",
        "Labels of the photographs and of Flickr8k are the index of the image modulo ten. STL-10 is omitted.",
    ),
)
