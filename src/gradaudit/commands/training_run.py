"""What the commands of `gradaudit train` share: the images, the checkpoint, the progress, and the file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn

from ..values.errors import AuditError, AuditInterrupted
from ..values.terminal import Screen, as_text, duration, echo

if TYPE_CHECKING:
    from ..models.fitting.fit import Fitted, Limit, TrainingWatch
    from ..models.fitting.image_set import ImageSet
    from ..models.fitting.task import Task

USUAL = 20.0  # minutes of a training without a limit
EVERY = 60.0  # seconds between two lines in a log file

MakeTask = Callable[[int, int, int], "Task"]
"""`(channels, side, classes)` of the images -> what is trained."""


@dataclass(frozen=True)
class Request:
    """The options that all kinds of training have in common; `labelled` says that the network takes the classes."""

    data: str
    out: Path
    size: int | None
    steps: int | None
    minutes: float | None
    batch: int
    flip: bool
    seed: int
    device: str
    labelled: bool = False

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished training is kept."""
        return self.out.with_name(f"{self.out.stem}.unfinished.pt")

    @property
    def sheet(self) -> Path:
        """The picture beside the file."""
        return self.out.with_suffix(".png")

    def limit(self) -> Limit:
        """Return when the training ends; raise `AuditError` if a number is out of range."""
        from ..models.fitting.fit import Limit

        for name, value in (("--steps", self.steps), ("--minutes", self.minutes), ("--batch-size", self.batch)):
            if value is not None and not value > 0:
                raise AuditError(f"{name}: must be more than 0. Found {value}.")
        minutes = USUAL if self.steps is None and self.minutes is None else self.minutes
        return Limit(self.steps, None if minutes is None else 60 * minutes)


def carry_out(request: Request, make: MakeTask) -> None:
    """Train what `make` returns, save it, and print its scores.

    Raises:
        AuditError: The images, an option or the file do not fit.
        AuditInterrupted: Ctrl-C was pressed; the file holds the network so far.
    """
    import torch

    from ..audit.resolve import make_device
    from ..inversion.run.keeper import Keeper
    from ..models.fitting.fit import BatchDrawing, fit
    from ..values.chance import child_seed, seeded

    limit, device = request.limit(), make_device(request.device)
    _require_out(request)
    images, data = _images(request)
    channels, side = images.shape[:2]
    classes = 0 if images.labels is None else int(images.labels.max()) + 1
    task = make(channels, side, classes)
    facts = {"data": data, "images": len(images), "seed": request.seed, "identity": _identity(request, task, images)}
    if _finished(request, facts["identity"]):
        return
    training, held_out = images.split(child_seed(request.seed, "held-out images"))
    with seeded(child_seed(request.seed, "weights"), device):
        trainer = task.trainer(device)
    keep = Keeper(request.checkpoint, facts["identity"])
    drawing = BatchDrawing(request.batch, request.flip, child_seed(request.seed, "steps"))
    with _Bar(task.kind, limit) as bar:
        fitted = fit(trainer, training, limit, drawing, keep=keep, watch=bar.watch)
    with seeded(child_seed(request.seed, "scores"), torch.device("cpu")):
        _save(request, task, trainer.result(), fitted, facts, training, held_out)
    if fitted.interrupted:
        raise AuditInterrupted(
            f"interrupted after {fitted.steps} steps: {request.out} holds the network so far. "
            "The same command goes on from here."
        )
    request.checkpoint.unlink(missing_ok=True)


def _save(
    request: Request,
    task: Task,
    network: Any,
    fitted: Fitted,
    facts: dict[str, Any],
    training: ImageSet,
    held_out: ImageSet,
) -> None:
    """Write the network and its picture, and print what it is; its scores too, unless Ctrl-C ended the training."""
    import torch

    from ..models.assets import save_asset
    from ..models.fitting.task import rounded
    from ..values.files import png, write_whole

    network = rounded(network)
    scores = {} if fitted.interrupted else task.scores(network, training, held_out)
    facts = {
        **facts,
        "steps": fitted.steps,
        "seconds": round(fitted.seconds, 1),
        "finished": not fitted.interrupted,
        "held_out": {key: round(value, 6) for key, value in scores.items()},
        "torch": str(torch.__version__),
    }
    state = {name: one.half() if one.is_floating_point() else one for name, one in network.state_dict().items()}
    save_asset(request.out, task.kind, task.name, task.architecture.settings, facts, state)
    write_whole(request.sheet, png(task.sheet(network, held_out)))
    if fitted.interrupted:
        return
    weights = sum(one.numel() for one in network.parameters())
    echo(
        f"{request.out}: {task.kind} {task.name}, {weights / 1e6:.2f} million weights, "
        f"{request.out.stat().st_size / 1e6:.2f} MB; {fitted.steps} steps in {duration(fitted.seconds)} on "
        f"{len(training)} images."
    )
    for line in task.told(scores):
        echo(line)
    echo(f"Look at {request.sheet} before you use it.")


def _require_out(request: Request) -> None:
    """Raise `AuditError` if the file has another ending, or cannot be written."""
    from ..values.files import make_folder, refused

    if request.out.suffix != ".safetensors":
        raise AuditError(f"--out {request.out}: must end in .safetensors.")
    make_folder(request.out.parent, option="--out")
    tried = request.out.with_name(f".{request.out.name}.tried")
    with refused(request.out, option="--out"):
        tried.touch()
        tried.unlink()


def _finished(request: Request, identity: str) -> bool:
    """Return whether the file already holds this training, and say so; raise `AuditError` if it holds anything else."""
    from ..models.assets import described
    from ..values.files import is_file

    if not is_file(request.out):
        return False
    facts = described(request.out)
    if facts.get("identity") != identity:
        raise AuditError(
            f"--out {request.out}: holds another training or another file. Choose another name, or move it away."
        )
    if facts.get("finished"):
        echo(f"{request.out}: is already trained ({facts.get('steps')} steps). Choose another --out to train anew.")
    return bool(facts.get("finished"))


def _identity(request: Request, task: Task, images: ImageSet) -> str:
    """Return what identifies a training: a hash of everything but its limit."""
    facts = hashlib.sha256(repr((task.kind, task.name, task.architecture, task.options)).encode())
    facts.update(repr((request.batch, request.flip, request.seed, images.shape)).encode())
    facts.update(images.pixels.numpy().tobytes())
    if images.labels is not None:
        facts.update(images.labels.numpy().tobytes())
    return facts.hexdigest()


def _images(request: Request) -> tuple[ImageSet, str]:
    """Return all images in memory, with labels if they are wanted, and what they are in words."""
    import torch

    from ..models.fitting.image_set import ImageSet
    from ..values.memory import require_memory

    source = _source(request)
    channels, height, width = source.shape
    if height != width:
        raise AuditError(f"--size: the images are {height} x {width} pixels. Give the side of a square, such as 32.")
    labels = source.labels if request.labelled else None
    if request.labelled and (labels is None or labels.is_floating_point() or labels.ndim != 1):
        raise AuditError("--conditional: the images have no classes. Give a source with labels, or leave it out.")
    require_memory(2 * len(source) * channels * height * width, "--data: the images", "Give fewer or a smaller --size.")
    pixels = torch.empty(len(source), channels, height, width, dtype=torch.uint8)
    for number in range(len(source)):
        pixels[number] = source.pictures[number].mul(255).round().to(torch.uint8)
    return ImageSet(pixels, labels), source.description


def _source(request: Request) -> Any:
    """Return the opened source of `--data`; raise `AuditError` if there is none, or its examples are no images."""
    from ..audit.resolve import open_source
    from ..values.types import Modality

    section, folder = _section(request.data)
    source, _ = open_source(section | ({} if request.size is None else {"size": request.size}), folder, "--data")
    if source.modality is not Modality.PICTURES:
        raise AuditError(f"--data: {source.name} holds no images.")
    if request.data.endswith((".yaml", ".yml")):
        echo(
            f"--data {request.data}: takes the source of the client's own images. A network that has seen the "
            "private images measures its memory, not the leak: let the audit attack others.",
            err=True,
        )
    return source


def _section(data: str) -> tuple[dict[str, Any], Path]:
    """Return the section of an audit file that opens `--data`, and the folder that its paths are relative to."""
    from dataclasses import fields

    from ..audit.config import read_values
    from ..data.sources import SOURCES

    path = Path(data).expanduser()
    if path.suffix in (".yaml", ".yml"):
        read = read_values(path)
        section = read.get("data") if isinstance(read, dict) else None
        if not isinstance(section, dict):
            raise AuditError(f"--data {data}: has no data: section.")
        return {key: value for key, value in section.items() if key != "batch_size"}, path.resolve().parent
    if data == "photographs":
        return {"source": data}, Path.cwd()
    name, mark, place = data.partition(":")
    if mark and name in SOURCES:
        split = {"split": "train"} if any(field.name == "split" for field in fields(SOURCES[name])) else {}
        return {"source": name, "path": str(Path(place).expanduser()), **split}, Path.cwd()
    if path.is_dir():
        return {"source": "folder", "path": str(path)}, Path.cwd()
    if path.suffix == ".npz":
        return {"source": "npz", "path": str(path)}, Path.cwd()
    raise AuditError(
        f"--data: must be an .npz, a folder of images, photographs, SOURCE:PATH or an audit file. Found {data}."
    )


class _Bar:
    """The progress of a training: a bar on a terminal, a line a minute in a log file."""

    def __init__(self, kind: str, limit: Limit) -> None:
        self.screen, self.limit, self.told = Screen(err=True), limit, 0.0
        columns = (TextColumn(kind), BarColumn(bar_width=28), TextColumn("{task.fields[of]}", markup=False))
        self.bars = Progress(*columns, console=self.screen, transient=True, disable=not self.screen.is_terminal)
        self.task = self.bars.add_task("", total=1.0, of="")

    def __enter__(self) -> _Bar:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    @property
    def watch(self) -> TrainingWatch:
        """What a training calls after every step."""

        def shown(steps: int, seconds: float, losses: Any) -> None:
            said = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
            line = f"{steps} steps, {duration(seconds)}, loss: {said}"
            if self.screen.is_terminal:
                self.bars.update(self.task, completed=self.limit.fraction(steps, seconds), of=line)
            elif seconds - self.told > EVERY:
                self.screen.print(as_text(line))
                self.told = seconds

        return shown
