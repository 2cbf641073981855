"""Text classifiers over token ids: a small BERT (encoder) and a small GPT-2 (decoder), built from `transformers`."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor, nn

from ..values.errors import AuditError
from ..values.types import Modality
from ._named import NamedModel

SECOND_ORDER = "eager"  # attention as elementary operations, because the fused kernels have no second derivative


class TextClassifier(nn.Module):
    """A text classifier over token ids or their embeddings: a Hugging Face transformer with a linear head.

    The head of an encoder reads the pooled first token, as in BERT (Devlin et al., 2019, section 3). The head of a
    decoder reads the last token that is not padding, as in `GPT2ForSequenceClassification`. Padding comes after the
    text and is never attended to.

    Args:
        backbone: A transformer that takes `inputs_embeds` and `attention_mask`, with "eager" attention.
        num_classes: K.
        pad_id: Id of the padding token.
    """

    def __init__(self, backbone: nn.Module, num_classes: int, *, pad_id: int) -> None:
        super().__init__()
        self.backbone, self.pad_id = backbone, pad_id
        self.pooled = getattr(backbone, "pooler", None) is not None
        self.head = nn.Linear(backbone.config.hidden_size, num_classes)  # type: ignore[union-attr, arg-type]
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    @property
    def token_embedding(self) -> nn.Embedding:
        """The embedding table `[V, d]` that maps token ids to vectors."""
        return self.backbone.get_input_embeddings()  # type: ignore[operator]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits `[B, K]`.

        Args:
            inputs: `[B, L]` integers in [0, V), or `[B, L, d]` embeddings. A position is padding if it is `pad_id`, or
                exactly the embedding of `pad_id`.
        """
        table = self.token_embedding
        if inputs.is_floating_point():
            embeddings = inputs
            present = (inputs != table.weight[self.pad_id].detach()).any(-1)
        else:
            embeddings = table(inputs)
            present = inputs != self.pad_id
        found = self.backbone(inputs_embeds=embeddings, attention_mask=present.long())
        if self.pooled:
            return self.head(found.pooler_output)
        last = present.long().cumsum(1).argmax(1)
        rows = torch.arange(len(last), device=last.device)
        return self.head(found.last_hidden_state[rows, last])


def tiny_bert(
    num_classes: int,
    vocabulary: int = 30_522,
    *,
    width: int = 128,
    depth: int = 2,
    heads: int = 2,
    length: int = 64,
    spread: float = 0.02,
    pad_id: int = 0,
) -> TextClassifier:
    """BERT in its smallest published size (Turc et al., 2019: 2 layers, width 128), untrained; GELU, no dropout.

    Args:
        num_classes: K.
        vocabulary: V; the default and `pad_id` are those of BERT's uncased WordPiece vocabulary.
        width: d, a multiple of `heads`; the feed-forward layers are 4 d wide.
        depth: Number of layers.
        heads: Number of attention heads in each layer.
        length: Length of the longest sequence.
        spread: Standard deviation of the initial weights; that of BERT's trained token embedding is 0.05.
        pad_id: Id of the token [PAD].

    Raises:
        AuditError: `transformers` is missing, or the numbers do not fit together.
    """
    _check("tiny-bert", num_classes, vocabulary, width, heads, pad_id)
    transformers = _transformers("tiny-bert")
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=length,
        initializer_range=spread,
        pad_token_id=pad_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation=SECOND_ORDER,
    )
    return TextClassifier(transformers.BertModel(config), num_classes, pad_id=pad_id)


def tiny_gpt2(
    num_classes: int,
    vocabulary: int = 50_257,
    *,
    width: int = 128,
    depth: int = 4,
    heads: int = 2,
    length: int = 64,
    spread: float = 0.02,
    pad_id: int = 50_256,
) -> TextClassifier:
    """GPT-2 (Radford et al., 2019) as a classifier with 4 layers and width 128, untrained; GELU, no dropout.

    Args:
        num_classes: K.
        vocabulary: V; the default and `pad_id` are those of GPT-2's own byte pairs.
        width: d, a multiple of `heads`; the feed-forward layers are 4 d wide.
        depth: Number of layers.
        heads: Number of attention heads in each layer.
        length: Length of the longest sequence.
        spread: Standard deviation of the initial weights.
        pad_id: Id of the padding token, by convention the token that ends a text.

    Raises:
        AuditError: `transformers` is missing, or the numbers do not fit together.
    """
    _check("tiny-gpt2", num_classes, vocabulary, width, heads, pad_id)
    transformers = _transformers("tiny-gpt2")
    config = transformers.GPT2Config(
        vocab_size=vocabulary,
        n_embd=width,
        n_layer=depth,
        n_head=heads,
        n_positions=length,
        initializer_range=spread,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=pad_id,
        eos_token_id=pad_id,
        attn_implementation=SECOND_ORDER,
    )
    return TextClassifier(transformers.GPT2Model(config), num_classes, pad_id=pad_id)


def _check(name: str, num_classes: int, vocabulary: int, width: int, heads: int, pad_id: int) -> None:
    if num_classes < 1 or vocabulary < 1:
        raise AuditError(f"{name}: num_classes and vocabulary must be at least 1. Found {num_classes}, {vocabulary}.")
    if heads < 1 or width < 1 or width % heads:
        raise AuditError(f"{name}: width must be a multiple of heads. Found {width} and {heads}.")
    if not 0 <= pad_id < vocabulary:
        raise AuditError(f"{name}: pad_id must be a token of the vocabulary of {vocabulary}. Found {pad_id}.")


def _transformers(name: str) -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise AuditError(
            f"{name}: needs the package transformers. Install it: pip install 'gradaudit[text]'"
        ) from error
    return transformers


TINY_BERT = NamedModel("tiny-bert", Modality.TEXT, tiny_bert)
TINY_GPT2 = NamedModel("tiny-gpt2", Modality.TEXT, tiny_gpt2)
