import { reshape, scope, type Tensor, tensor, writeInto } from '@topk-attention/core';
import { KeyValueCache, type Run, takeRows } from '@topk-attention/nn';
import type { DecoderState } from '../generation/decoder.js';
import { isRecordable, RecordedToken, roomOf } from '../generation/recorded-token.js';
import { afterHeads, embed, type Heads, headsOf, logitsOf } from './blocks.js';
import type { CausalLayers } from './layers.js';
import { type Rotary, rotaryTable } from './rotary.js';
import { maskOf, placeOf, type TokenState, tokenStep } from './token-step.js';

/** Whether the steps of a model are recorded. */
export function isRecorded(run: Run, { embedding, blocks }: CausalLayers): boolean {
  return isRecordable(
    embedding.backend,
    run,
    blocks.map(({ attention }) => attention),
  );
}

/** Caches of the tokens so far, the padding at the left of each row, and the angles of every place of the caches. */
export class CausalState implements DecoderState {
  readonly prefixes: readonly (readonly number[])[];
  readonly #run: Run;
  readonly #model: CausalLayers;
  readonly #caches: readonly KeyValueCache[];
  /** i32 [B]; undefined where no row is padded. */
  #padding: Tensor | undefined;
  /** Of as many positions as the caches have places; undefined with learned positions. */
  #table: Rotary | undefined;
  /** Undefined where steps are not recorded. */
  readonly #token: RecordedToken<TokenState> | undefined;

  /**
   * @param padding how many places at the left of each row hold nothing
   * @param room how many places `write` fills
   */
  constructor(
    run: Run,
    model: CausalLayers,
    prompts: readonly (readonly number[])[],
    padding: readonly number[],
    room: number,
  ) {
    const { config, embedding } = model;
    const { backend } = embedding;
    this.#run = run;
    this.#model = model;
    this.prefixes = prompts;
    if (isRecorded(run, model)) {
      this.#token = new RecordedToken(backend, (state, inputs) => tokenStep(run, model, state, inputs));
    }
    const capacity = room + roomOf(this.#token !== undefined);
    const { keyValueHeads: heads, headDim } = config;
    const size = { batch: prompts.length, heads, keyDim: headDim, valueDim: headDim, capacity };
    const made: { dispose(): void }[] = [];
    try {
      this.#caches = model.blocks.map(() => {
        const cache = new KeyValueCache(backend, size);
        made.push(cache);
        return cache;
      });
      if (padding.some((own) => own > 0)) {
        this.#padding = tensor(backend, Int32Array.from(padding), [padding.length], 'i32');
        made.push(this.#padding);
      }
      this.#table = this.#newTable(capacity);
    } catch (error) {
      for (const one of made) one.dispose();
      throw error;
    }
  }

  get tensors(): readonly Tensor[] {
    const { cosines, sines } = this.#table ?? {};
    return [
      ...this.#caches.flatMap(({ keys, values }) => [keys, values]),
      ...[this.#padding, cosines, sines].filter((one) => one !== undefined),
    ];
  }

  /** Writes keys and values of the first places of a block, of which `length` hold tokens. The heads stay the caller's. */
  write(index: number, { key, value }: Heads, length: number): void {
    const cache = this.#caches[index] as KeyValueCache;
    cache.advance(
      length,
      writeInto(cache.keys, key, [0, 0, 0, 0]),
      writeInto(cache.values, value, [0, 0, 0, 0]),
    );
  }

  /** As `Decoder.step`. */
  logits(tokens: readonly number[]): Tensor {
    if (this.#token === undefined) return this.#step(tokens);
    const { state, logits } = this.#token.logits(this.#state, tokens, this.#position);
    this.#advance(state);
    return logits;
  }

  /** As `Decoder.best`, where steps are recorded. */
  best(tokens: readonly number[] | undefined): Tensor {
    const token = this.#token as RecordedToken<TokenState>;
    const { state, best } = token.best(this.#state, tokens, this.#position);
    this.#advance(state);
    return best;
  }

  reserve(): boolean {
    const grew = this.#caches.map((cache) => cache.reserve(1)).includes(true);
    if (grew) {
      const table = this.#newTable(this.#capacity);
      this.#disposeTable();
      this.#table = table;
    }
    return grew;
  }

  reorder(rows: readonly number[]): void {
    for (const cache of this.#caches) cache.reorder(rows);
    if (this.#padding === undefined) return;
    const padding = takeRows(this.#padding, rows);
    this.#padding.dispose();
    this.#padding = padding;
  }

  dispose(): void {
    for (const cache of this.#caches) cache.dispose();
    this.#padding?.dispose();
    this.#disposeTable();
    this.#token?.dispose();
  }

  get #position(): number {
    return this.#caches[0]?.length ?? 0;
  }

  get #capacity(): number {
    return this.#caches[0]?.capacity ?? 0;
  }

  #newTable(positions: number): Rotary | undefined {
    const { config, embedding } = this.#model;
    if (config.rotary === undefined) return undefined;
    return rotaryTable(embedding.backend, config.rotary, config.headDim, positions);
  }

  #disposeTable(): void {
    this.#table?.cosines.dispose();
    this.#table?.sines.dispose();
  }

  /** One token of each row, called op by op. */
  #step(tokens: readonly number[]): Tensor {
    const model = this.#model;
    const { backend } = model.embedding;
    const place = scope(() => {
      const position = tensor(backend, Int32Array.of(this.#position), [1], 'i32');
      const placed = placeOf(model, this.#table, this.#padding, position, tokens.length);
      const mask = maskOf(this.#padding, this.#capacity);
      const ids = tensor(backend, Int32Array.from(tokens), [tokens.length, 1], 'i32');
      return { x: embed(this.#run, model, ids, placed.positions), mask, ...placed.turn };
    });
    const { cosines, sines, mask } = place;
    const turn = cosines === undefined || sines === undefined ? undefined : { cosines, sines };
    let { x } = place;
    try {
      for (const index of model.blocks.keys()) {
        const next = this.#block(index, x, turn, mask);
        x.dispose();
        x = next;
      }
      return scope(() => reshape(logitsOf(model, x), [tokens.length, -1]));
    } finally {
      for (const one of [x, cosines, sines, mask]) one?.dispose();
    }
  }

  /** The residual stream after a block, for one token of each row. Appends the token's key and value to the cache. */
  #block(index: number, x: Tensor, turn: Rotary | undefined, mask: Tensor | undefined): Tensor {
    const { config, blocks } = this.#model;
    const block = blocks[index] as CausalLayers['blocks'][number];
    const cache = this.#caches[index] as KeyValueCache;
    const { query, key, value } = headsOf(config, block, x, turn);
    try {
      const queryStart = cache.length;
      // The cache outlives any scope, so it is written between two scopes.
      cache.append(key, value);
      return scope(() => {
        const heads = { query, key: cache.keys, value: cache.values };
        const options = { ...block.attention.sequence, queryStart, ...(mask && { mask }) };
        return afterHeads(this.#run, config, block, x, heads, options);
      });
    } finally {
      for (const used of [query, key, value]) used.dispose();
    }
  }

  get #state(): TokenState {
    return {
      blocks: this.#caches.map(({ keys, values }) => ({ keys, values })),
      padding: this.#padding === undefined ? [] : [this.#padding],
      tables: this.#table === undefined ? [] : [{ ...this.#table }],
    };
  }

  /** Takes over what a recorded step returned. */
  #advance({ blocks, padding, tables }: TokenState): void {
    for (const [index, { keys, values }] of blocks.entries()) {
      (this.#caches[index] as KeyValueCache).advance(1, keys, values);
    }
    [this.#padding] = padding;
    [this.#table] = tables;
  }
}
