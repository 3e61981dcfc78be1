import {
  type Chunks,
  emitChunks,
  emitExact,
  emitHeads,
  emitKeyColumns,
  emitMerged,
  emitSelectedInChunks,
} from './attention.js';
import { emitFeedForward } from './feed-forward.js';
import { RelativeBias } from './relative-bias.js';
import {
  BATCH,
  emitEmbedding,
  emitLinear,
  emitNorm,
  emitNormal,
  emitPadding,
  emitPlaces,
  layerOf,
  SOURCE,
  type Stack,
  sublayerName,
  widened,
} from './stack.js';

/** From `input_ids` and `attention_mask`, i64 [B, L], to `last_hidden_state`, f32 [B, L, dModel]. */
export function emitEncoder(stack: Stack): void {
  const { onnx, config } = stack;
  const ids = onnx.input('input_ids', 'i64', [BATCH, SOURCE]);
  const mask = onnx.input('attention_mask', 'i64', [BATCH, SOURCE]);
  const scoring = new Scoring(stack, mask);
  let x = emitEmbedding(stack, ids);
  for (let index = 0; index < config.encoderLayers; index++) {
    const attended = onnx.within(`encoder.${index}.attention`, () => emitAttention(stack, scoring, index, x));
    x = onnx.op('Add', [x, attended]);
    const made = onnx.within(`encoder.${index}.feedForward`, () => {
      const sublayer = sublayerName(stack, index, 1);
      const normal = emitNormal(stack, x, `${sublayer}.layer_norm.weight`);
      return emitFeedForward(stack, sublayer, normal, layerOf(stack, index).feedForward);
    });
    x = onnx.op('Add', [x, made]);
  }
  const shape = [BATCH, SOURCE, config.dModel];
  onnx.output(emitNorm(stack, x, 'encoder.final_layer_norm.weight', 'last_hidden_state'), 'f32', shape);
}

/** What the layers of the stack share: positions, padding, and what is added to all scores. */
class Scoring {
  readonly #stack: Stack;
  readonly #bias: RelativeBias;
  readonly places: string;
  readonly padding: string;
  readonly #chunks = new Map<number, Chunks>();
  #terms: string | undefined;

  constructor(stack: Stack, mask: string) {
    this.#stack = stack;
    this.#bias = new RelativeBias(stack);
    this.places = emitPlaces(stack.onnx, SOURCE);
    this.padding = emitPadding(stack, mask);
  }

  get bias(): RelativeBias {
    return this.#bias;
  }

  /** [B, H, L, L]: one value for all layers that are exact. */
  get terms(): string {
    const { onnx } = this.#stack;
    this.#terms ??= onnx.within('encoder.bias', () =>
      onnx.op('Add', [this.#bias.emit(onnx, this.places, this.places), this.padding]),
    );
    return this.#terms;
  }

  chunks(k: number): Chunks {
    let chunks = this.#chunks.get(k);
    if (chunks === undefined) {
      chunks = emitChunks(this.#stack, SOURCE, k);
      this.#chunks.set(k, chunks);
    }
    return chunks;
  }
}

/** f32 [B, L, dModel] */
function emitAttention(stack: Stack, scoring: Scoring, index: number, x: string): string {
  const { onnx } = stack;
  const sublayer = sublayerName(stack, index, 0);
  const name = (role: string): string => `${sublayer}.SelfAttention.${role}.weight`;
  const normal = emitNormal(stack, x, `${sublayer}.layer_norm.weight`);
  const heads = {
    queries: emitHeads(stack, normal, name('q')),
    keys: emitKeyColumns(stack, normal, name('k')),
    values: emitHeads(stack, normal, name('v')),
  };
  const { attention } = layerOf(stack, index);
  if (typeof attention === 'object') {
    const merged = emitSelectedInChunks(
      stack,
      scoring.chunks(attention.k),
      SOURCE,
      heads,
      (inner, places) => [scoring.bias.emit(inner, places, scoring.places), scoring.padding],
    );
    return widened(stack, onnx, emitLinear(stack, merged, name('o')));
  }
  const scores = onnx.op('Add', [onnx.op('MatMul', [heads.queries, heads.keys]), scoring.terms]);
  const merged = emitMerged(stack, emitExact(stack, scores, heads.values));
  return widened(stack, onnx, emitLinear(stack, merged, name('o')));
}
