"""ModelSession: the only runner of a model; it owns the lock and the hooks, and never hands the model out."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.batching import Batch, batches, make_batch
from capture.decoding import next_token
from capture.errors import UserError
from capture.fingerprint import fingerprint
from capture.gradient import logits_with_gradient
from capture.hook_point import HookPoint
from capture.intervention import Intervention
from capture.shape import ModelShape, read_shape
from capture.token_text import token_texts
from capture.turn import Turn
from capture.weights import read_weight
from capture.wiring import Reader, check_interventions, check_points, plain_run, run, wire

if TYPE_CHECKING:
    from capture.faithfulness import Faithfulness

__all__ = ["ModelSession", "ModelShape"]

Update = Callable[[HookPoint, Tensor, Tensor, Tensor], None]
Progress = Callable[[float, str], None]

WAIT_S = 5.0


class ModelSession:
    """One loaded model with its tokenizer; several threads may use it, one forward pass at a time.

    Weights are as the model's authors stored them (`processing` is "raw": nothing folded, nothing centred).
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str, revision: str = "", wait_s: float = WAIT_S) -> None:
        """Take over a transformers model: it is wrapped in place, so the caller must not use it afterwards."""
        parameter = next(model.parameters())
        self.name = name
        self.revision = revision
        self.dtype = str(parameter.dtype).removeprefix("torch.")
        self.device = str(parameter.device)
        self.processing = "raw"
        self.wait_s = wait_s
        self.faithfulness: Faithfulness | None = None
        if parameter.dtype == torch.float16 and not parameter.is_cuda:
            raise UserError(
                "float16 is not computed on a CPU: it is hundreds of times slower there than float32.",
                "Choose bfloat16 or float32.",
            )
        self.fingerprint = fingerprint(model)
        self._tokenizer = tokenizer
        self._turn = Turn()
        self._wiring = wire(model)
        widths = [width for at, width in self._wiring.widths.items() if at.site == "mlp_post"]
        n_params = self._wiring.bridge.n_params_total
        self.shape = read_shape(model.config, self._wiring.bridge.cfg, n_params, next(iter(widths), None))
        self.shape = replace(self.shape, n_open_mixtures=len(self._wiring.experts))
        self._stops = _stop_tokens(model, tokenizer)

    @contextmanager
    def hold(self, who: str) -> Iterator[None]:
        """The turn to run the model; after `wait_s` seconds in vain, UserError says who has it and since when."""
        with self._turn.hold(who, self.wait_s):
            yield

    def tokens(self, text: str, bos: bool) -> tuple[int, ...]:
        """Token ids of a text, with a BOS token before them where asked; nothing else is added.

        Raises UserError where the text is empty, too long for the model, or a BOS token is asked for and there is none.
        """
        if not text:
            raise UserError("A text must have at least one character; none was given.", "Type a sentence.")
        first = (self._bos(),) if bos else ()
        ids = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        tokens = (*first, *ids)
        self._check_tokens(tokens)
        return tokens

    def windows(self, text: str, width: int, bos: bool) -> tuple[tuple[int, ...], ...]:
        """Token ids of a text of any length, cut into windows of at most `width`, each led by BOS where asked."""
        lead = (self._bos(),) if bos else ()
        ids = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        step = min(width, self.shape.context) - len(lead)
        return tuple((*lead, *ids[start : start + step]) for start in range(0, len(ids), step))

    def _bos(self) -> int:
        if self._tokenizer.bos_token_id is None:
            raise UserError(f"The tokenizer of {self.name} has no BOS token.", "Switch BOS off.")
        return self._tokenizer.bos_token_id

    def token_texts(self, tokens: Sequence[int]) -> tuple[str, ...]:
        """What to show for each token; a byte of a split character is shown as, for example, <0xF0>."""
        return token_texts(self._tokenizer, tokens)

    def has_site(self, at: HookPoint) -> bool:
        """Whether the model has this hook point: it fired in a run of a few tokens."""
        return at in self._wiring.points

    def capture(
        self, tokens: Sequence[int], at: Sequence[HookPoint], interventions: Sequence[Intervention] = ()
    ) -> dict[HookPoint, Tensor]:
        """Activations [pos ...] at the hook points, after all interventions, on the CPU in the dtype of the run.

        Queries, keys, values and head outputs are [pos head d_head]; `pattern` and `attn_scores` are [head pos pos];
        router logits [pos expert]. The forward pass stops after the last block that is needed. Treat the tensors as
        read-only: two hook points may share one.
        """
        return self.capture_batch([tokens], at, interventions)[0]

    def capture_batch(
        self, rows: Sequence[Sequence[int]], at: Sequence[HookPoint], interventions: Sequence[Intervention] = ()
    ) -> list[dict[HookPoint, Tensor]]:
        """For each row of tokens what `capture` gives for it alone, up to rounding, from one forward pass."""
        self._check(rows, at, interventions)
        batch = make_batch(list(enumerate(rows)), self._wiring.device)
        seen: dict[HookPoint, Tensor] = {}
        readers = {point: _keep(point, seen) for point in at}
        with self.hold(f"a capture of {sum(map(len, rows)):,} tokens"):
            run(self._wiring, batch.ids, readers, interventions, only_read=True)
        return [{point: _row(point, seen[point], index, len(row)) for point in at} for index, row in enumerate(rows)]

    def logits(self, tokens: Sequence[int], interventions: Sequence[Intervention] = ()) -> Float[Tensor, "pos d_vocab"]:
        """Logits after each token, float32, on the CPU."""
        self._check([tokens], (), interventions)
        with self.hold(f"a forward pass of {len(tokens):,} tokens"):
            return self._forward(tokens, interventions)[0].float().cpu()

    def loss(self, tokens: Sequence[int], interventions: Sequence[Intervention] = ()) -> Float[Tensor, "predicted"]:
        """Cross-entropy of each token but the first, given those before it: [pos - 1], float32, in nats."""
        if len(tokens) < 2:
            raise UserError(
                f"A loss needs at least two tokens; there is {len(tokens)}.", "Type a longer text, or switch BOS on."
            )
        logits = self.logits(tokens, interventions)[:-1]
        targets = torch.tensor(tokens[1:], dtype=torch.long)
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none")

    def with_gradient(
        self, rows: Sequence[Sequence[int]], added: Mapping[HookPoint, Tensor], changes: Sequence[Intervention] = ()
    ) -> Float[Tensor, "batch pos d_vocab"]:
        """Logits, float32, with `added[at]` on top of the activations, differentiable in the tensors that are added.

        A tensor [batch pos d], [batch 1 d] or [1 1 d] is added row by row and position by position, after all changes;
        rows are padded on the right, so their positions are those of the row alone, and logits past the end of a row
        mean nothing. The model's weights have no gradient. The turn is held for the forward pass; `backward` reads.
        """
        self._check(rows, tuple(added), changes)
        with self.hold(f"a pass with gradients over {len(rows):,} texts"):
            return logits_with_gradient(self._wiring, rows, added, changes)

    def generate(
        self,
        tokens: Sequence[int],
        n_tokens: int,
        *,
        seed: int = 0,
        temperature: float | int = 0.8,
        top_p: float | int = 0.95,
        interventions: Sequence[Intervention] = (),
        on_token: Callable[[int], None] | None = None,
        use_cache: bool = True,
    ) -> tuple[int, ...]:
        """New tokens only; temperature 0 takes the likeliest. Ends after an EOS token, or where the context is full.

        `on_token` is called with each token as it comes, and raises to cancel. The turn is held for one token at a
        time, so that others need not wait for the end. Without the key/value cache every step runs all tokens.
        """
        from transformers import DynamicCache

        self._check([tokens], (), interventions)
        generator = torch.Generator().manual_seed(seed)
        cache = DynamicCache(config=self._wiring.plain.config) if use_cache else None
        given = list(tokens)
        new: list[int] = []
        n_steps = min(n_tokens, self.shape.context - len(given))
        while len(new) < n_steps and not (new and new[-1] in self._stops):
            done = len(given) + len(new) - 1 if new and use_cache else 0
            with self.hold(f"a generation of {n_tokens:,} tokens"):
                logits = self._forward((given + new)[done:], interventions, done, cache)[0, -1]
            new.append(next_token(logits.float().cpu(), temperature, top_p, generator))
            if on_token is not None:
                on_token(new[-1])
        return tuple(new)

    def stream(
        self,
        texts: Iterable[Sequence[int]],
        at: Sequence[HookPoint],
        update: Update,
        interventions: Sequence[Intervention] = (),
        progress: Progress | None = None,
        batch_tokens: int = 2048,
        skip_batches: int = 0,
    ) -> None:
        """Run many texts in batches, giving activations to `update(point, values, text_index, pos)` as they arise.

        `values` [n ...] are those of real tokens only (of `pattern` and `attn_scores`: [n head key], where keys are
        as many as the longest text of the batch has); `text_index` and `pos` [n] say whose they are; all on the
        model's device. They are the model's own tensors where nothing was padded: `update` must not write to them or
        keep them without a copy. Memory does not grow with the texts. The turn is held for one batch at a time.
        The same texts give the same batches, so a run that was stopped goes on behind those it has had.
        """
        n_texts = len(texts) if isinstance(texts, Sequence) else None
        n_done = 0
        for number, rows in enumerate(batches(texts, batch_tokens)):
            n_done += len(rows)
            if number < skip_batches:
                continue
            self._check([tokens for _, tokens in rows], at, interventions)
            batch = make_batch(rows, self._wiring.device)
            readers = {point: _pass_on(point, batch, update) for point in at}
            with self.hold("a run over a text set"):
                run(self._wiring, batch.ids, readers, interventions, only_read=True)
            if progress is not None:
                progress(n_done / n_texts if n_texts else 0.0, f"{n_done:,} texts")

    def weight(self, kind: str, layer: int) -> Tensor:
        """A view of one weight, input axis first; it must not be written to.

        `W_in`, `W_gate` [d_model d_mlp], `W_out` [d_mlp d_model], `W_out_norms` [d_mlp] of its rows; of experts
        `W_out_experts` [n_experts d_mlp d_model], and their norms end to end; `ln1`, `ln2`: the gain of that norm
        [d_model]; `ln_final` [d_model], `W_U` [d_model d_vocab] and `W_E` [d_vocab d_model], with
        layer 0. Raises UserError where the model has none.
        """
        return read_weight(self._wiring, kind, layer)

    def reference(self, tokens: Sequence[int]) -> tuple[Float[Tensor, "pos d_vocab"], list[Float[Tensor, "pos d"]]]:
        """Logits and the residual stream after each block by the plain transformers model, without TransformerLens."""
        self._check([tokens], (), ())
        ids = torch.tensor([list(tokens)], device=self._wiring.device)
        with self.hold(f"a comparison over {len(tokens):,} tokens"):
            logits, residuals = plain_run(self._wiring, ids)
        return logits[0].float().cpu(), [residual[0].cpu() for residual in residuals]

    def _forward(
        self, tokens: Sequence[int], interventions: Sequence[Intervention], first_pos: int = 0, cache: Any = None
    ) -> Tensor:
        ids = torch.tensor([list(tokens)], device=self._wiring.device)
        arguments = {} if cache is None else {"use_cache": True, "past_key_values": cache}
        return run(self._wiring, ids, {}, interventions, first_pos=first_pos, **arguments)

    def _check(
        self, rows: Sequence[Sequence[int]], at: Sequence[HookPoint], interventions: Sequence[Intervention]
    ) -> None:
        check_points(self._wiring, at)
        check_interventions(self._wiring, interventions)
        for tokens in rows:
            self._check_tokens(tokens)

    def _check_tokens(self, tokens: Sequence[int]) -> None:
        if not tokens:
            raise UserError("There must be at least one token; there is none.", "Type a sentence, or switch BOS on.")
        if len(tokens) > self.shape.context:
            raise UserError(
                f"The text has {len(tokens):,} tokens; {self.name} fits {self.shape.context:,}.", "Shorten the text."
            )
        if not 0 <= min(tokens) <= max(tokens) < self.shape.d_vocab:
            raise UserError(
                f"Tokens of {self.name} are numbered 0 to {self.shape.d_vocab - 1:,}; {max(tokens):,} was met.",
                "Load the tokenizer that belongs to the model.",
            )


def _stop_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens after which a text is over."""
    found = {tokenizer.eos_token_id}
    for config in (model.config, getattr(model, "generation_config", None)):
        ids = getattr(config, "eos_token_id", None)
        found |= set(ids) if isinstance(ids, list | tuple) else {ids}
    return frozenset(found - {None})


def _keep(point: HookPoint, seen: dict[HookPoint, Tensor]) -> Reader:
    return lambda activation: seen.__setitem__(point, activation)


def _row(point: HookPoint, activation: Tensor, index: int, n_pos: int) -> Tensor:
    """One row of a batch without its padding."""
    row = activation[index]
    is_head_major = point.site in ("pattern", "attn_scores")
    return (row[:, :n_pos, :n_pos] if is_head_major else row[:n_pos]).detach().cpu()


def _pass_on(point: HookPoint, batch: Batch, update: Update) -> Reader:
    def read(activation: Tensor) -> None:
        by_pos = activation.transpose(1, 2) if point.site in ("pattern", "attn_scores") else activation
        values = by_pos.flatten(0, 1)
        if batch.real is not None:
            values = values.index_select(0, batch.real)
        update(point, values, batch.text_index, batch.pos)

    return read
