import {
  type AttentionOptions,
  type Backend,
  gatherRows,
  matmul,
  mul,
  relativePositionBucket,
  reshape,
  rmsNorm,
  scope,
  type Tensor,
  tensor,
  transpose,
} from '@topk-attention/core';
import { embedding, KeyValueCache } from '@topk-attention/nn';
import { type LayerChoices, type ResolvedLayer, resolveLayer } from '../layer-choice.js';
import type { T5Config } from './config.js';
import { addAttention, addFeedForward, attend, keysAndValues, project, queries } from './layers.js';
import type { DecoderLayerWeights, T5Weights } from './weights.js';

/** Keys and values of the source for one layer's cross-attention, computed once per generation. */
interface SourceKeys {
  readonly key: Tensor;
  readonly value: Tensor;
}

/** Logits [B, Lt, vocabSize] of the whole target at once: what training and scoring use. */
export function decodeAll(
  config: T5Config,
  weights: T5Weights,
  encoded: Tensor,
  sourceLengths: Tensor | undefined,
  targets: Tensor,
  levels: readonly LayerChoices[],
): Tensor {
  const { decoder } = weights;
  return scope(() => {
    let x = embedding(weights.embedding, targets);
    for (const [index, layer] of decoder.layers.entries()) {
      const choice = resolveLayer('decoder', index, levels);
      const next = scope(() => {
        const attended = attend(project(config, layer.attention, x), choice.attention, {
          causal: true,
          relativeBias: {
            table: decoder.relativeTable,
            bidirectional: false,
            maxDistance: config.maxDistance,
          },
        });
        const self = addAttention(layer.attention, x, attended);
        const source = keysAndValues(config, layer.crossAttention, encoded);
        return afterSelfAttention(config, layer, self, source, sourceLengths, choice);
      });
      x.dispose();
      x = next;
    }
    return logitsOf(config, weights, x);
  });
}

/** Cross-attention and feed-forward layer: the same with and without a cache. */
function afterSelfAttention(
  config: T5Config,
  layer: DecoderLayerWeights,
  x: Tensor,
  source: SourceKeys,
  sourceLengths: Tensor | undefined,
  choice: ResolvedLayer,
): Tensor {
  return scope(() => {
    const attended = attend(
      { query: queries(config, layer.crossAttention, x), ...source },
      choice.crossAttention,
      sourceLengths === undefined ? {} : { keyLengths: sourceLengths },
    );
    const crossed = addAttention(layer.crossAttention, x, attended);
    return addFeedForward(config, layer.feedForward, crossed, choice.feedForward);
  });
}

function logitsOf(config: T5Config, weights: T5Weights, x: Tensor): Tensor {
  return scope(() => {
    const normal = rmsNorm(x, weights.decoder.finalNorm, config.epsilon);
    const scaled = config.scaledOutputs ? mul(normal, config.dModel ** -0.5) : normal;
    return matmul(scaled, weights.output, { transposeB: true });
  });
}

/** A decoder in the middle of a generation: the source's keys and values, and those of the tokens so far. Owns them. */
export class DecoderState {
  readonly #backend: Backend;
  readonly #config: T5Config;
  readonly #weights: T5Weights;
  readonly #sourceLengths: Tensor | undefined;
  readonly #choices: readonly ResolvedLayer[];
  readonly #sources: readonly SourceKeys[];
  readonly #caches: readonly KeyValueCache[];
  readonly #batch: number;

  /** @param sourceLengths stays the caller's and must live as long as the state */
  constructor(
    config: T5Config,
    weights: T5Weights,
    encoded: Tensor,
    sourceLengths: Tensor | undefined,
    levels: readonly LayerChoices[],
    capacity: number,
  ) {
    const { layers } = weights.decoder;
    this.#backend = encoded.backend;
    this.#config = config;
    this.#weights = weights;
    this.#sourceLengths = sourceLengths;
    this.#batch = encoded.shape[0] as number;
    this.#choices = layers.map((_, index) => resolveLayer('decoder', index, levels));
    this.#sources = layers.map((layer) => keysAndValues(config, layer.crossAttention, encoded));
    this.#caches = layers.map(
      () =>
        new KeyValueCache(this.#backend, {
          batch: this.#batch,
          heads: config.heads,
          keyDim: config.dKv,
          valueDim: config.dKv,
          capacity,
        }),
    );
  }

  /**
   * Tensors that the next step reads. Evaluating them before it keeps the graph of a step the same from token to token,
   * where an engine compiles graphs.
   */
  get tensors(): readonly Tensor[] {
    return [
      ...this.#sources.flatMap(({ key, value }) => [key, value]),
      ...this.#caches.flatMap(({ keys, values }) => [keys, values]),
    ];
  }

  /** Makes room for one more token. True when that changed shapes, and `tensors` are worth evaluating. */
  reserve(): boolean {
    return this.#caches.map((cache) => cache.reserve(1)).includes(true);
  }

  /** Takes one token for each row and gives the logits of the next, [B, vocabSize]. */
  step(tokens: readonly number[]): Tensor {
    const { decoder } = this.#weights;
    const config = this.#config;
    const position = this.#caches[0]?.length ?? 0;
    const options = this.#selfAttentionOptions(position);
    let x = scope(() =>
      embedding(
        this.#weights.embedding,
        tensor(this.#backend, Int32Array.from(tokens), [this.#batch, 1], 'i32'),
      ),
    );
    try {
      for (const [index, layer] of decoder.layers.entries()) {
        const choice = this.#choices[index] as ResolvedLayer;
        const cache = this.#caches[index] as KeyValueCache;
        const { query, key, value } = project(config, layer.attention, x);
        // The cache outlives any scope, so this happens between two of them.
        cache.append(key, value);
        const next = scope(() => {
          const kept = { query, key: cache.keys, value: cache.values };
          const attended = attend(kept, choice.attention, options);
          const self = addAttention(layer.attention, x, attended);
          const source = this.#sources[index] as SourceKeys;
          return afterSelfAttention(config, layer, self, source, this.#sourceLengths, choice);
        });
        for (const used of [query, key, value, x]) used.dispose();
        x = next;
      }
      return scope(() => reshape(logitsOf(config, this.#weights, x), [this.#batch, -1]));
    } finally {
      x.dispose();
      for (const used of [options.bias, options.keyLengths]) used.dispose();
    }
  }

  /**
   * The cache is longer than what it holds, so core's alignment of the last query with the last key does not apply: the bias
   * of the one query, at `position`, is looked up here, once for all layers.
   */
  #selfAttentionOptions(position: number): Required<Pick<AttentionOptions, 'bias' | 'keyLengths'>> {
    const { buckets, maxDistance, heads } = this.#config;
    const capacity = this.#caches[0]?.capacity ?? 1;
    const table = this.#weights.decoder.relativeTable;
    const rule = { bidirectional: false, buckets, maxDistance };
    const at = Int32Array.from({ length: capacity }, (_, key) =>
      relativePositionBucket(key - position, rule),
    );
    return scope(() => {
      const rows = gatherRows(
        reshape(table, [1, ...table.shape]),
        tensor(this.#backend, at, [1, capacity], 'i32'),
      );
      return {
        bias: reshape(transpose(rows, [0, 2, 1]), [1, heads, 1, capacity]),
        keyLengths: tensor(
          this.#backend,
          new Int32Array(this.#batch).fill(position + 1),
          [this.#batch],
          'i32',
        ),
      };
    });
  }

  /** Idempotent. */
  dispose(): void {
    for (const { key, value } of this.#sources) {
      key.dispose();
      value.dispose();
    }
    for (const cache of this.#caches) cache.dispose();
  }
}
