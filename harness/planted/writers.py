"""Commuting writers: the algebra shared by the planted models whose blocks do not read each other.

The residual stream of 64 dimensions is cut into subspaces that no two parts of the model share by accident:

    READ   24   written by the token embedding; the only thing blocks read
    WRITE  32   written by the token embedding and by blocks; the only thing the unembedding reads
    spare   6   always zero, but for what `harness.planted.channel` wires
    SINK    1   takes the value biases of attention; nobody reads it
    CONST   1   2**15 at every token, written by the token embedding; nobody reads it

**The norm is the identity.** With S the sum of squares of all dimensions but CONST, RMSNorm divides by
sqrt((2**30 + S) / 64). While S < 64 the sum 2**30 + S rounds to 2**30 in float32, so the divisor is 2**12
whatever the blocks have written, and each norm's weight is 2**12: norm(x) = x to the last bit in every
dimension. In exact arithmetic norm(x) = x (1 + S / 2**30)**-0.5, a coupling below 3e-8. This is why blocks
commute: READ never changes, so what a block writes does not depend on which other blocks ran.

**What block l writes**, at position t, into WRITE, with e[s] the READ embedding of the token at position s:

    attn_l(t) = sum_h O_lh V_lg sum_{s<=t} a_lh(t, s) e[s]
                a_lh(t, .) = softmax over s of q_lh . R(s - t) k_lg / 4
    mlp_l(t)  = D_l (silu(G_l e[t]) * U_l e[t])

Head h shares key and value of group g = h // 2. The q and k *weights* are zero: their biases q_lh, k_lg,
turned by the rotary matrix R, give an attention pattern that depends on positions only, which keeps the
closed form short. The v bias lies in one dimension of each group that `o_proj` sends to SINK. So

    logits(t) = U (w[t] + sum_l (attn_l(t) + mlp_l(t)))

with w the WRITE part of the embedding and U the unembedding; and **skipping block l removes its term and
changes nothing else**. `Plan.logits` is this line, in float64, without torch and without reading the
checkpoint.

**Heads and blind writes.** Zeroing z of head h in block l removes that head's term of attn_l(t) (and its part
of SINK), again exactly. A model may close the last 8 dimensions of WRITE, BLIND, to its unembedding
(`close_blind`): a write there moves the stream and no logit. Blocks and heads that must not matter keep that
quarter of their write (`blind_attention`, `blind_mlp`): they are active and yet known to do nothing.

`erase` (resid_post := 0) leaves no READ for later blocks to read and nothing but SINK in the stream: the
logits are all zero whichever block is erased. The profile of the erase sweep is flat, as the atlas's own
was; it must come out `invalid`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

D_READ = 24
D_WRITE = 32
D_MODEL = 64
D_MLP = 64
N_HEADS = 4
N_KV_HEADS = 2
D_HEAD = 16
D_VALUE = D_HEAD - 1
"""Dimensions of a head's value that carry READ; the last one carries the value bias."""

D_SEEN = 24
"""Dimensions of WRITE that are left to the unembedding where BLIND is closed to it."""

READ = slice(0, D_READ)
WRITE = slice(D_READ, D_READ + D_WRITE)
BLIND = slice(D_SEEN, D_WRITE)
"""Counted within WRITE."""

SINK = D_MODEL - 2
CONST = D_MODEL - 1
CONSTANT = 2.0**15
NORM_WEIGHT = 2.0**12
"""CONSTANT / sqrt(D_MODEL): what undoes the division by the root mean square."""

SQUARES_LIMIT = 64.0
"""Below this sum of squares outside CONST the norm is the identity to the last bit of float32."""

ROPE_THETA = 10_000.0
LOGIT_SCALE = 2.5
"""Standard deviation over the vocabulary of the logits that a write of norm 1 causes."""

BIGRAM_NORM = 0.5
"""Root mean square norm of the embedding's own WRITE part: without any block the model is not uniform."""

_POSITION_SPREAD = 1.2
_VALUE_BIAS = 0.02


@dataclass(frozen=True, kw_only=True)
class Writer:
    """The weights of one block, in the subspaces above; all values are exact in float32."""

    query_bias: Float[np.ndarray, "heads head"]
    key_bias: Float[np.ndarray, "groups head"]
    value_bias: Float[np.ndarray, " groups"]
    value: Float[np.ndarray, "groups value read"]
    output: Float[np.ndarray, "heads write value"]
    gate: Float[np.ndarray, "mlp read"]
    up: Float[np.ndarray, "mlp read"]
    down: Float[np.ndarray, "write mlp"]

    def write(
        self, read: Float[np.ndarray, "pos read"], *, without: Collection[int] = ()
    ) -> Float[np.ndarray, " write"]:
        """What the block adds to WRITE at the last position, its heads in `without` zeroed.

        This is attn_l + mlp_l of the module docstring.
        """
        attn = np.zeros(D_WRITE)
        for head in (h for h in range(N_HEADS) if h not in without):
            group = head * N_KV_HEADS // N_HEADS
            attn += self.output[head] @ (self.value[group] @ (self.patterns(len(read))[head] @ read))
        total: np.ndarray = attn + self.mlp(read[-1:])[0]
        return total

    def patterns(self, n_pos: int) -> Float[np.ndarray, "heads pos"]:
        """Attention of the last of `n_pos` positions, head by head; kept, as it depends on nothing else."""
        if n_pos not in self._kept_patterns:
            keys = self.key_bias[[head * N_KV_HEADS // N_HEADS for head in range(N_HEADS)]]
            pairs = zip(self.query_bias, keys, strict=True)
            self._kept_patterns[n_pos] = np.array([position_pattern(q, k, n_pos=n_pos) for q, k in pairs])
        return self._kept_patterns[n_pos]

    @cached_property
    def _kept_patterns(self) -> dict[int, np.ndarray]:
        return {}

    def mlp(self, read: Float[np.ndarray, "pos read"]) -> Float[np.ndarray, "pos write"]:
        """What the MLP alone adds to WRITE, position by position."""
        written: np.ndarray = (silu(read @ self.gate.T) * (read @ self.up.T)) @ self.down.T
        return written


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole model of commuting writers, before it is laid out as a checkpoint."""

    embed_read: Float[np.ndarray, "vocab read"]
    embed_write: Float[np.ndarray, "vocab write"]
    unembed: Float[np.ndarray, "vocab write"]
    writers: tuple[Writer, ...]

    def logits(
        self,
        token_ids: Sequence[int],
        *,
        skip: Collection[int] = (),
        zero_heads: Collection[tuple[int, int]] = (),
    ) -> Float[np.ndarray, " vocab"]:
        """Closed form of the logits at the last position of `token_ids`.

        The blocks in `skip` are skipped; z of the heads in `zero_heads`, each (layer, head), is zeroed.

        Raises:
            ValueError: `token_ids` is empty, or a block or a head is named that does not exist.
        """
        self.check(token_ids, skip=skip, zero_heads=zero_heads)
        read = self.embed_read[list(token_ids)]
        stream = self.embed_write[token_ids[-1]].copy()
        for layer, writer in enumerate(self.writers):
            if layer not in skip:
                stream += writer.write(read, without={h for at, h in zero_heads if at == layer})
        logits: np.ndarray = self.unembed @ stream
        return logits

    def check(
        self,
        token_ids: Sequence[int],
        *,
        skip: Collection[int],
        zero_heads: Collection[tuple[int, int]],
    ) -> None:
        """Refuse what `logits` cannot compute.

        Raises:
            ValueError: `token_ids` is empty, or a block or a head is named that does not exist.
        """
        if not len(token_ids):
            raise ValueError("closed form of no tokens: expected at least one")
        unknown = sorted(set(skip) - set(range(len(self.writers))))
        if unknown:
            raise ValueError(
                f"no blocks {unknown} to skip: the model has blocks 0 to {len(self.writers) - 1}"
            )
        missing = sorted(
            (layer, head)
            for layer, head in zero_heads
            if not (0 <= layer < len(self.writers) and 0 <= head < N_HEADS)
        )
        if missing:
            raise ValueError(
                f"no heads {missing} (layer, head) to zero: the model has blocks 0 to "
                f"{len(self.writers) - 1} of {N_HEADS} heads"
            )

    def kl_nats(
        self,
        token_ids: Sequence[int],
        *,
        skip: Collection[int] = (),
        zero_heads: Collection[tuple[int, int]] = (),
    ) -> float:
        """Closed form of KL(base || edited) of the next-token distribution, in nats."""
        edited = self.logits(token_ids, skip=skip, zero_heads=zero_heads)
        return kl_of_logits(self.logits(token_ids), edited)


def position_pattern(
    query: Float[np.ndarray, " head"], key: Float[np.ndarray, " head"], *, n_pos: int
) -> Float[np.ndarray, " pos"]:
    """Attention of the last of `n_pos` positions, for a query and a key that are the same at every position."""
    return softmax(position_scores(query, key, n_pos=n_pos))


def position_scores(
    query: Float[np.ndarray, " head"], key: Float[np.ndarray, " head"], *, n_pos: int
) -> Float[np.ndarray, " pos"]:
    """Scores of the last of `n_pos` positions before the softmax, as in `position_pattern`.

    Rotary embedding turns the pair of dimensions (i, i + 8) by position x theta**(-i / 8); as complex
    numbers the score at distance n is Re(sum_i q_i conj(k_i) exp(1j n theta**(-i / 8))) / sqrt(16).
    """
    half = D_HEAD // 2
    frequency = ROPE_THETA ** (-np.arange(half) / half)
    distance = np.arange(n_pos - 1, -1, -1)
    product = (query[:half] + 1j * query[half:]) * np.conj(key[:half] + 1j * key[half:])
    scores: np.ndarray = (product * np.exp(1j * distance[:, None] * frequency)).sum(-1).real / np.sqrt(D_HEAD)
    return scores


def kl_of_logits(base: Float[np.ndarray, " vocab"], edited: Float[np.ndarray, " vocab"]) -> float:
    """KL(base || edited) in nats, summed over the vocabulary."""
    logp, logq = _log_softmax(base), _log_softmax(edited)
    return float(np.sum(np.exp(logp) * (logp - logq)))


def close_blind(unembed: Float[np.ndarray, "vocab write"]) -> Float[np.ndarray, "vocab write"]:
    """The unembedding, no longer reading BLIND."""
    closed = unembed.copy()
    closed[:, BLIND] = 0.0
    return closed


def blind_attention(writer: Writer) -> Writer:
    """The writer with every head writing to BLIND alone."""
    output = writer.output.copy()
    output[:, :D_SEEN] = 0.0
    return replace(writer, output=output)


def blind_mlp(writer: Writer) -> Writer:
    """The writer with its MLP writing to BLIND alone."""
    down = writer.down.copy()
    down[:D_SEEN] = 0.0
    return replace(writer, down=down)


def random_embeddings(vocab_size: int, rng: Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """READ and WRITE embeddings and the unembedding, each vocab x d.

    READ norms are log-normal around 1, so some tokens drive every writer harder than others; they are cut
    at 1.5, WRITE norms at 1, which keeps every stream below SQUARES_LIMIT.
    """
    read = _unit_rows(rng.standard_normal((vocab_size, D_READ)))
    read *= np.minimum(np.exp(0.3 * rng.standard_normal((vocab_size, 1))), 1.5)
    write = rng.standard_normal((vocab_size, D_WRITE)) * (BIGRAM_NORM / np.sqrt(D_WRITE))
    write /= np.maximum(np.linalg.norm(write, axis=1, keepdims=True), 1.0)
    unembed = LOGIT_SCALE * rng.standard_normal((vocab_size, D_WRITE))
    return _float32(read), _float32(write), _float32(unembed)


def random_writer(strength: float, *, embed_read: Float[np.ndarray, "vocab read"], rng: Generator) -> Writer:
    """A writer with random functions, scaled so that `strength` is its root mean square norm.

    Over the vocabulary, the MLP's write and the write of attention to that one token each have a root mean
    square norm of strength / sqrt(2). Averaging over positions makes attention's actual write smaller and
    the effect different from prompt to prompt.
    """
    value = rng.standard_normal((N_KV_HEADS, D_VALUE, D_READ))
    output = rng.standard_normal((N_HEADS, D_WRITE, D_VALUE))
    one_token = sum(output[h] @ value[h * N_KV_HEADS // N_HEADS] for h in range(N_HEADS))
    gate, up = 2.0 * rng.standard_normal((2, D_MLP, D_READ))
    down = rng.standard_normal((D_WRITE, D_MLP))
    part = strength / np.sqrt(2.0)
    writer = Writer(
        query_bias=_float32(_POSITION_SPREAD * rng.standard_normal((N_HEADS, D_HEAD))),
        key_bias=_float32(_POSITION_SPREAD * rng.standard_normal((N_KV_HEADS, D_HEAD))),
        value_bias=_float32(_VALUE_BIAS * rng.standard_normal(N_KV_HEADS)),
        value=_float32(value / np.sqrt(D_READ)),
        output=_float32(output * (part * np.sqrt(D_READ) / _rms_norm(embed_read @ one_token.T))),
        gate=_float32(gate),
        up=_float32(up),
        down=_float32(down),
    )
    scale = part / _rms_norm(writer.mlp(embed_read))
    return replace(writer, down=_float32(down * scale))


def _float32(array: np.ndarray) -> np.ndarray:
    """Round to float32 and back: the closed form then uses the very numbers the checkpoint stores."""
    return array.astype(np.float32).astype(np.float64)


def _unit_rows(array: np.ndarray) -> np.ndarray:
    unit: np.ndarray = array / np.linalg.norm(array, axis=-1, keepdims=True)
    return unit


def _rms_norm(rows: np.ndarray) -> float:
    """Root mean square of the rows' norms."""
    return float(np.sqrt(np.mean(np.sum(rows**2, axis=-1))))


def silu(x: np.ndarray) -> np.ndarray:
    """The activation of every MLP, x sigmoid(x); any shape."""
    with np.errstate(over="ignore"):  # far below 0 it is 0, as it should be
        activated: np.ndarray = x / (1.0 + np.exp(-x))
    return activated


def softmax(scores: Float[np.ndarray, " pos"]) -> Float[np.ndarray, " pos"]:
    """Attention, from the scores of one query."""
    attention: np.ndarray = np.exp(_log_softmax(scores))
    return attention


def _log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max()
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum())
    return result
