"""ModelSession: the only runner of a model; it owns the lock and the hooks, and never hands the model out."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.batching import batches, make_batch
from capture.binding import audible, bound_rows
from capture.chat import chat_prompt
from capture.errors import UserError
from capture.fingerprint import fingerprint
from capture.generation import Decoder, GenerationRow, OnStep, Sampling
from capture.gradient import logits_with_gradient
from capture.hook_point import HookPoint
from capture.intervention import Intervention
from capture.placing import Placed, placed
from capture.reading import Update, keeper, passer, unpadded
from capture.shape import ModelShape, check_tokens, read_shape
from capture.token_text import stop_tokens, token_texts
from capture.turn import Turn
from capture.weights import read_weight
from capture.wiring import check_interventions, check_points, plain_run, run, wire, with_weights

if TYPE_CHECKING:
    from capture.faithfulness import Faithfulness

__all__ = ["ModelSession", "ModelShape"]

Progress = Callable[[float, str], None]

WAIT_S = 5.0


class ModelSession:
    """One loaded model with its tokenizer; several threads may use it, one forward pass at a time.

    Weights are as the model's authors stored them (`processing` is "raw": nothing folded, nothing centred).
    `special_tokens` are the ids of tokens that are no text, such as BOS.
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
        self._stops = stop_tokens(model, tokenizer)
        self.special_tokens = frozenset(tokenizer.all_special_ids)
        self._decoder = Decoder(self._wiring, self.hold, self.shape.context, lambda: self._stops)

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
        check_tokens(tokens, self.shape, self.name)
        return tokens

    def chat_prompt(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The tokens' text as a message in the model's chat template, up to its answer; refused where it has none."""
        return chat_prompt(self._tokenizer, tokens, self.name)

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

    def check_interventions(self, interventions: Sequence[Intervention]) -> None:
        """Raises UserError where one acts at a hook point that the model lacks, or that can only be read."""
        check_interventions(self._wiring, interventions)

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
        changes = self._placed(rows, at, interventions)
        batch = make_batch(list(enumerate(rows)), self._wiring.device)
        seen: dict[HookPoint, Tensor] = {}
        readers = {point: keeper(point, seen) for point in at}
        with self.hold(f"a capture of {sum(map(len, rows)):,} tokens"):
            run(self._wiring, batch.ids, readers, changes, only_read=True)
        return [
            {point: unpadded(point, seen[point], index, len(row)) for point in at} for index, row in enumerate(rows)
        ]

    def logits(self, tokens: Sequence[int], interventions: Sequence[Intervention] = ()) -> Float[Tensor, "pos d_vocab"]:
        """Logits after each token, float32, on the CPU."""
        changes = self._placed([tokens], (), interventions)
        ids = torch.tensor([list(tokens)], device=self._wiring.device)
        with self.hold(f"a forward pass of {len(tokens):,} tokens"):
            logits: Tensor = run(self._wiring, ids, {}, changes)
            return logits[0].float().cpu()

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
        """Logits [batch pos d_vocab], float32, with `added[at]` on top, differentiable in it: see capture.gradient."""
        made = self._placed(rows, tuple(added), changes)
        with self.hold(f"a pass with gradients over {len(rows):,} texts"):
            return logits_with_gradient(self._wiring, rows, added, made)

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
        """New tokens of one text: `generate_rows` of a single row. `on_token` hears each, and raises to cancel."""
        sampling = Sampling(seed, temperature, top_p)
        row = GenerationRow(tuple(tokens), tuple(interventions))
        on_step = None if on_token is None else _hearing_one(on_token)
        made = self.generate_rows([row], n_tokens, sampling, on_step=on_step, use_cache=use_cache, remember=False)
        return made[0]

    def generate_rows(
        self,
        rows: Sequence[GenerationRow],
        n_tokens: int,
        sampling: Sampling,
        *,
        on_step: OnStep | None = None,
        use_cache: bool = True,
        remember: bool = True,
    ) -> tuple[tuple[int, ...], ...]:
        """New tokens of each row, decoded as one batch; a row ends after an EOS token, or where the context is full.

        `on_step` is called after each step with a token or None for every row, and raises to cancel. The turn is held
        for one step at a time, so that others need not wait for the end. Rows of one seed have the same noise at each
        step, so that only what their changes do sets them apart. Without the key/value cache every step runs all
        tokens. With `remember`, a row that was decoded before under the same changes is not decoded again, and one
        whose changes differ from some position on goes on from there.
        """
        changes = [self._bound([row.prompt], (), row.interventions)[0] for row in rows]
        return self._decoder.generate(rows, changes, n_tokens, sampling, on_step, use_cache, remember)

    def row_logprobs(
        self, rows: Sequence[GenerationRow], continuations: Sequence[Sequence[int]]
    ) -> Iterator[Float[Tensor, "pos d_vocab"]]:
        """Per row, the log-probabilities before each token of its continuation, float32, on the CPU.

        Changes are bound to the prompt, as in a generation. Several rows share a forward pass.
        """
        changes = [self._bound([row.prompt], (), row.interventions)[0] for row in rows]
        for row, new in zip(rows, continuations, strict=True):
            check_tokens((*row.prompt, *new[:-1]), self.shape, self.name)
        yield from self._decoder.log_probabilities(rows, changes, continuations)

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
            changes = self._placed([tokens for _, tokens in rows], at, interventions)
            batch = make_batch(rows, self._wiring.device)
            readers = {point: passer(point, batch, update) for point in at}
            with self.hold("a run over a text set"):
                run(self._wiring, batch.ids, readers, changes, only_read=True)
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
        self._bound([tokens], (), ())
        ids = torch.tensor([list(tokens)], device=self._wiring.device)
        with self.hold(f"a comparison over {len(tokens):,} tokens"):
            logits, residuals = plain_run(self._wiring, ids)
        return logits[0].float().cpu(), [residual[0].cpu() for residual in residuals]

    def _bound(
        self, rows: Sequence[Sequence[int]], at: Sequence[HookPoint], interventions: Sequence[Intervention]
    ) -> list[tuple[Intervention, ...]]:
        """What acts on each row of tokens, after a check of all that is asked."""
        check_points(self._wiring, at)
        check_interventions(self._wiring, audible(interventions))
        for tokens in rows:
            check_tokens(tokens, self.shape, self.name)
        ready: dict[int, tuple[Intervention, ...]] = {}
        found = bound_rows(interventions, self, rows)
        for one in found:
            ready.setdefault(id(one), tuple(with_weights(self._wiring, change) for change in one))
        return [ready[id(one)] for one in found]

    def _placed(
        self, rows: Sequence[Sequence[int]], at: Sequence[HookPoint], interventions: Sequence[Intervention]
    ) -> list[Placed]:
        return placed(self._bound(rows, at, interventions))


def _hearing_one(on_token: Callable[[int], None]) -> OnStep:
    def on_step(heard: tuple[int | None, ...]) -> None:
        if heard[0] is not None:
            on_token(heard[0])

    return on_step
