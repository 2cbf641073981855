"""Collections of studies that answer the questions of one paper, under one index page."""

from __future__ import annotations

from dataclasses import dataclass

from ._sok_cells import PAPER


@dataclass(frozen=True)
class Question:
    """One research question of a paper.

    Args:
        key: Its number, such as `RQ1`.
        words: The question.
        finding: What the paper reports, in one sentence.
        studies: Names of the studies that answer it.
        open: What is not measured of it, or empty.
    """

    key: str
    words: str
    finding: str
    studies: tuple[str, ...]
    open: str = ""


@dataclass(frozen=True)
class Collection:
    """All questions of one paper.

    Args:
        name: Name on the command line.
        title: Heading of the index page.
        paper: Source of the findings.
        questions: The questions.
    """

    name: str
    title: str
    paper: str
    questions: tuple[Question, ...]

    @property
    def studies(self) -> tuple[str, ...]:
        """The studies of all questions."""
        return tuple(name for question in self.questions for name in question.studies)


SOK = Collection(
    "sok",
    "Gradient leakage in federated learning: every question of the SoK",
    PAPER,
    (
        Question(
            "RQ1",
            "How does the client's training configuration affect reconstruction?",
            "More local updates leak less. Minibatches of known size stay reconstructible; with unknown size "
            "reconstruction fails as their number grows.",
            ("sok-table-1", "sok-table-2"),
        ),
        Question(
            "RQ2",
            "How do attacks perform over a wide range of dimensions?",
            "All attacks fail at high resolution. Without a generator they work below a batch size of 30.",
            ("sok-figure-4",),
            "resolutions with a generator",
        ),
        Question(
            "RQ3",
            "Do attacks still work on images with diverse contents?",
            "Semantic details are lost, and images unlike those of the generator come back much worse.",
            ("sok-figure-6", "sok-figure-7", "sok-figure-8"),
            "photographs of places, and images of 256 px",
        ),
        Question(
            "RQ4",
            "How do attacks perform at different stages of training?",
            "They work in the early, under-fitted rounds only, and the smoothness of the gradient falls with them.",
            ("sok-figure-10",),
        ),
        Question(
            "RQ5",
            "How does the architecture affect the resistance to attacks?",
            "Skip connections, dense connections and net-in-net blocks leak; so do bias and large kernels, while ReLU, "
            "dropout, max-pools and padding hide.",
            ("sok-figure-13", "sok-figure-14", "sok-table-3", "sok-table-4"),
        ),
        Question(
            "RQ6",
            "Does post-processing defend while the model stays useful?",
            "Quantisation has the best trade-off, and clipping costs accuracy and hardly protects.",
            ("sok-figure-15",),
        ),
        Question(
            "ours",
            "What does a realistic client leak, beside a control that leaks?",
            "None: the paper measures one condition at a time.",
            ("realistic-client",),
        ),
    ),
)

COLLECTIONS = {SOK.name: SOK}
"""Name on the command line -> collection."""
