import { reshape, scope, type Tensor, tensor } from '@topk-attention/core';
import { type KeysAndValues, KeyValueCache, keysAndValuesOf, type Run, takeRows } from '@topk-attention/nn';
import type { Decoder, DecoderEvents, DecoderState } from '../generation/decoder.js';
import { paddedLength } from '../generation/padded-length.js';
import { isRecordable, RecordedToken, roomOf } from '../generation/recorded-token.js';
import { runSteps } from '../generation/run-steps.js';
import { tokenBatch } from '../generation/token-batch.js';
import type { T5Config } from './config.js';
import type { DecoderBlock, T5Layers } from './layers.js';
import { addAttention, afterSelfAttention, embed, encoderSteps, logitsOf, selfHeads } from './stacks.js';
import { type TokenState, tokenStep } from './token-step.js';

/** Decoding with a T5: encodes the prompts, then continues from caches. */
export function t5Decoder(run: Run, t5: T5Layers): Decoder<T5DecoderState> {
  return {
    start: (prompts, events) => start(run, t5, prompts, events),
    step: (state, tokens) => state.recordedLogits(tokens) ?? step(run, t5, state, tokens),
    ...(isRecorded(run, t5) && {
      best: (state: T5DecoderState, tokens?: readonly number[]) => state.recordedBest(tokens),
    }),
  };
}

/** Whether the steps of a model are recorded. */
function isRecorded(run: Run, { embedding, decoder }: T5Layers): boolean {
  const layers = decoder.blocks.flatMap((block) => [block.attention.layer, block.crossAttention.layer]);
  return isRecordable(embedding.backend, run, layers);
}

async function start(
  run: Run,
  t5: T5Layers,
  prompts: readonly (readonly number[])[],
  { interruption, onProgress }: DecoderEvents,
): Promise<T5DecoderState> {
  const { config, embedding } = t5;
  const { backend } = embedding;
  const longest = prompts.reduce((most, row) => Math.max(most, row.length), 0);
  const source = tokenBatch(backend, config, prompts, paddedLength(backend, longest));
  try {
    const steps = encoderSteps(run, t5, source);
    const encoded = await runSteps(steps, source.ids.size, interruption, (done) =>
      onProgress?.({ stage: 'encode', done, total: config.encoderLayers }),
    );
    try {
      return new T5DecoderState(run, t5, encoded, source.keyLengths);
    } finally {
      encoded.dispose();
    }
  } catch (error) {
    source.keyLengths?.dispose();
    throw error;
  } finally {
    source.ids.dispose();
  }
}

function step(run: Run, t5: T5Layers, state: T5DecoderState, tokens: readonly number[]): Tensor {
  const { backend } = t5.embedding;
  const batch = tokens.length;
  let x = scope(() => embed(run, t5, 'decoder', tensor(backend, Int32Array.from(tokens), [batch, 1], 'i32')));
  try {
    for (const [index, block] of t5.decoder.blocks.entries()) {
      const next = decoderBlock(run, t5.config, block, state, index, x);
      x.dispose();
      x = next;
    }
    return scope(() => reshape(logitsOf(run, t5, x), [batch, -1]));
  } finally {
    x.dispose();
  }
}

/** The residual stream after a block, for one token of each row. Appends the token's key and value to the cache. */
function decoderBlock(
  run: Run,
  config: T5Config,
  block: DecoderBlock,
  { layers, sourceLengths }: T5DecoderState,
  index: number,
  x: Tensor,
): Tensor {
  const { source, cache } = layers[index] as T5DecoderState['layers'][number];
  const { query, key, value } = selfHeads(config, block.attention, x);
  try {
    const queryStart = cache.length;
    // The cache outlives any scope, so it is written between two scopes.
    cache.append(key, value);
    return scope(() => {
      const { layer } = block.attention;
      const heads = { query, key: cache.keys, value: cache.values };
      const self = addAttention(run, config, layer, x, heads, { ...layer.sequence, queryStart });
      return afterSelfAttention(run, config, block, self, source, sourceLengths);
    });
  } finally {
    for (const used of [query, key, value]) used.dispose();
  }
}

/** Keys and values of the source for each cross-attention, computed once, and caches of the tokens so far. */
export class T5DecoderState implements DecoderState {
  readonly prefixes: readonly (readonly number[])[];
  sourceLengths: Tensor | undefined;
  readonly layers: readonly { source: KeysAndValues; readonly cache: KeyValueCache }[];
  /** Which source each row reads. */
  #sources: readonly number[];
  /** Undefined where steps are not recorded. */
  readonly #token: RecordedToken<TokenState> | undefined;

  /** @param sourceLengths belongs to the state from now on; `encoded` stays the caller's */
  constructor(run: Run, t5: T5Layers, encoded: Tensor, sourceLengths: Tensor | undefined) {
    const { config, decoder } = t5;
    const { heads, dKv, decoderStartId } = config;
    if (isRecorded(run, t5)) {
      this.#token = new RecordedToken(encoded.backend, (state, inputs) => tokenStep(run, t5, state, inputs));
    }
    const batch = encoded.shape[0] as number;
    this.sourceLengths = sourceLengths;
    this.prefixes = Array.from({ length: batch }, () => [decoderStartId]);
    this.#sources = [...this.prefixes.keys()];
    const capacity = roomOf(this.#token !== undefined);
    const size = { batch, heads, keyDim: dKv, valueDim: dKv, capacity };
    const made: { dispose(): void }[] = [];
    try {
      this.layers = decoder.blocks.map(({ crossAttention }: DecoderBlock) => {
        const cache = new KeyValueCache(encoded.backend, size);
        made.push(cache);
        const source = keysAndValuesOf(crossAttention.layer, encoded);
        made.push(source.key, source.value);
        return { source, cache };
      });
    } catch (error) {
      for (const one of made) one.dispose();
      throw error;
    }
  }

  get tensors(): readonly Tensor[] {
    return this.layers.flatMap(({ source, cache }) => [source.key, source.value, cache.keys, cache.values]);
  }

  /** As `Decoder.step`; undefined where steps are not recorded. */
  recordedLogits(tokens: readonly number[]): Tensor | undefined {
    if (this.#token === undefined) return undefined;
    const { state, logits } = this.#token.logits(this.#state, tokens, this.#position);
    this.#advance(state);
    return logits;
  }

  /** As `Decoder.best`, where steps are recorded. */
  recordedBest(tokens: readonly number[] | undefined): Tensor {
    const token = this.#token as RecordedToken<TokenState>;
    const { state, best } = token.best(this.#state, tokens, this.#position);
    this.#advance(state);
    return best;
  }

  reserve(): boolean {
    return this.layers.map(({ cache }) => cache.reserve(1)).includes(true);
  }

  reorder(rows: readonly number[]): void {
    const sources = rows.map((row) => this.#sources[row] as number);
    // Beams of one source read the same keys and values wherever they move.
    const isMoved =
      sources.length !== this.#sources.length || sources.some((own, row) => own !== this.#sources[row]);
    for (const layer of this.layers) {
      layer.cache.reorder(rows);
      if (!isMoved) continue;
      const { key, value } = layer.source;
      layer.source = scope(() => ({ key: takeRows(key, rows), value: takeRows(value, rows) }));
      key.dispose();
      value.dispose();
    }
    if (isMoved && this.sourceLengths !== undefined) {
      const lengths = takeRows(this.sourceLengths, rows);
      this.sourceLengths.dispose();
      this.sourceLengths = lengths;
    }
    this.#sources = sources;
  }

  dispose(): void {
    for (const { source, cache } of this.layers) {
      source.key.dispose();
      source.value.dispose();
      cache.dispose();
    }
    this.sourceLengths?.dispose();
    this.#token?.dispose();
  }

  get #position(): number {
    return this.layers[0]?.cache.length ?? 0;
  }

  get #state(): TokenState {
    return {
      blocks: this.layers.map(({ source, cache }) => ({
        keys: cache.keys,
        values: cache.values,
        sourceKey: source.key,
        sourceValue: source.value,
      })),
      sourceLengths: this.sourceLengths === undefined ? [] : [this.sourceLengths],
    };
  }

  /** Takes over what a recorded step returned. */
  #advance({ blocks, sourceLengths }: TokenState): void {
    for (const [index, { keys, values, sourceKey, sourceValue }] of blocks.entries()) {
      const layer = this.layers[index] as (typeof this.layers)[number];
      layer.cache.advance(1, keys, values);
      layer.source = { key: sourceKey, value: sourceValue };
    }
    [this.sourceLengths] = sourceLengths;
  }
}
