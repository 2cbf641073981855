"""A study of one number."""

from dataclasses import dataclass

from gradaudit.studies import Study, Table


@dataclass(frozen=True)
class SeedCell:
    """The seed itself."""

    name: str = "seed"

    def missing(self, bench):
        """Nothing."""

    def measure(self, bench, seed):
        """Return the seed."""
        return {"seed": float(seed)}


STUDY = Study(
    name="seeds",
    title="Which seeds are taken",
    paper="none",
    about="It tabulates the seeds.",
    cells={"quick": (SeedCell(),)},
    repeats={"quick": 2},
    tables=(Table("Seeds", {"seed": "seed"}),),
)
