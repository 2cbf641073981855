"""By which measure an example of each modality is judged: the one place that names it, its unit and its thresholds."""

from __future__ import annotations

from dataclasses import dataclass

from .types import Modality


@dataclass(frozen=True)
class Measure:
    """The metric that decides whether an example came back.

    Args:
        metric: Its key in `Scores` and `METRICS`.
        name: As shown to a reader.
        noun: What one example is.
        unit: Of a value as it is shown.
        gain_unit: Of a difference as it is shown.
        factor: From the metric's own unit to the one shown.
        digits: Decimals shown.
        recovered_gain: Over the control, in the metric's own unit, from which an example counts as recovered.
        recovered: Value from which an example counts as recovered, in the metric's own unit.
        trace_gain: Over the control, in the metric's own unit, from which there is a trace.
        line: What reaching `recovered_gain` is called in the plot of gains.
        ceiling: Of the control, in the metric's own unit, from which an example cannot be judged: a guess without the
            update comes so close that no attack could be told from it.
        also: Other metrics whose gain over the control can make a trace.
        others: Metrics listed beside it.
    """

    metric: str
    name: str
    noun: str
    unit: str
    gain_unit: str
    factor: float
    digits: int
    recovered_gain: float
    recovered: float
    trace_gain: float
    ceiling: float
    line: str = "recovered"
    also: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def nouns(self) -> str:
        """Its plural."""
        return f"{self.noun}s"

    @property
    def prefix(self) -> str:
        """Its name before a value whose unit does not tell it; decibels tell theirs."""
        return "" if self.unit == "dB" else f"{self.name} "

    def text(self, value: float, *, signed: bool = False) -> str:
        """`26.1 dB`, `87 %`; with its sign, and percent as points, where it is a difference."""
        rounded = round(self.factor * value, self.digits) + 0.0  # adding zero turns -0.0 into 0.0
        unit = self.gain_unit if signed else self.unit
        return f"{rounded:{'+' if signed else ''}.{self.digits}f} {unit}"


PSNR = Measure(
    metric="psnr",
    name="PSNR",
    noun="picture",
    unit="dB",
    gain_unit="dB",
    factor=1,
    digits=1,
    recovered_gain=6.0,  # a quarter of the control's squared error
    recovered=0.0,
    trace_gain=3.0,  # half of the control's squared error
    ceiling=30.0,  # natural pictures: 9-17 dB
    others=("ssim", "lpips", "rank"),
)
TOKENS = Measure(
    metric="token_accuracy",
    name="token accuracy",
    noun="text",
    unit="%",
    gain_unit="points",
    factor=100,
    digits=0,
    recovered_gain=0.25,
    recovered=0.9,
    trace_gain=0.25,
    ceiling=0.75,  # above it there is no room for the gain
    line="trace",
    also=("rouge1", "bag_of_tokens"),  # words without their places, or without their text, are a trace too
    others=("exact_match", "rouge1", "rouge2", "rougeL", "bag_of_tokens", "edit_distance"),
)
CELLS = Measure(
    metric="cell_accuracy",
    name="cell accuracy",
    noun="row",
    unit="%",
    gain_unit="points",
    factor=100,
    digits=0,
    recovered_gain=0.25,
    recovered=0.9,
    trace_gain=0.25,
    ceiling=0.75,  # above it there is no room for the gain
    line="trace",
    others=("row_match",),
)

MEASURES: dict[Modality, Measure] = {Modality.PICTURES: PSNR, Modality.TEXT: TOKENS, Modality.TABLE: CELLS}
"""What each modality is judged by."""
