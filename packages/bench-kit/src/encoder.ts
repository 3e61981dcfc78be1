import {
  add,
  type Backend,
  cast,
  crossEntropy,
  exactAttention,
  layerNorm,
  linear,
  mul,
  recompute,
  type Shape,
  scope,
  sizeOf,
  sum,
  type Tensor,
  tensor,
  topKAttention,
} from '@topk-attention/core';
import { embedding, mergeHeads, type ParameterTree, splitHeads } from '@topk-attention/nn';

/** A Transformer encoder with a classifier, like the small models of the Long Range Arena. */
export interface EncoderSizes {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly hidden: number;
  readonly vocabulary: number;
  readonly classes: number;
  readonly tokens: number;
  readonly batch: number;
}

/** A number in [-1, 1] from its index, the same in torch_training.py: equal weights without a file. */
const numberAt = (index: number, salt: number): number => Math.sin(index * 12.9898 + salt * 78.233);

/** Weights made before, by what they follow from: the base model's 85 million sines take many seconds. */
const madeBefore = new Map<string, Float32Array>();

function weightsOf(size: number, salt: number, scale: number): Float32Array {
  const key = `${size} ${salt} ${scale}`;
  const made = madeBefore.get(key);
  if (made !== undefined) return made;
  const values = new Float32Array(size);
  // A loop: large models have tens of millions of them.
  for (let i = 0; i < size; i++) values[i] = numberAt(i, salt) * scale;
  madeBefore.set(key, values);
  return values;
}

/** Parameters by name: scaled weights, biases 0, norms 1. */
export function encoderParameters(backend: Backend, sizes: EncoderSizes): ParameterTree {
  const { layers, width, hidden, vocabulary, classes, tokens } = sizes;
  const made: { [name: string]: Tensor } = {};
  let salt = 0;
  const weight = (name: string, shape: Shape, scale: number): void => {
    salt++;
    made[name] = tensor(backend, weightsOf(sizeOf(shape), salt, scale), shape);
  };
  const constant = (name: string, size: number, value: number): void => {
    made[name] = tensor(backend, new Float32Array(size).fill(value), [size]);
  };
  const projection = (name: string, from: number, to: number): void => {
    weight(`${name}.weight`, [from, to], 1 / Math.sqrt(from));
    constant(`${name}.bias`, to, 0);
  };
  const norm = (name: string): void => {
    constant(`${name}.weight`, width, 1);
    constant(`${name}.bias`, width, 0);
  };
  weight('tokens.weight', [vocabulary, width], 0.5);
  weight('positions.weight', [tokens, width], 0.5);
  for (let layer = 0; layer < layers; layer++) {
    norm(`layers.${layer}.norm1`);
    for (const name of ['q_proj', 'k_proj', 'v_proj', 'out_proj'])
      projection(`layers.${layer}.${name}`, width, width);
    norm(`layers.${layer}.norm2`);
    projection(`layers.${layer}.linear1`, width, hidden);
    projection(`layers.${layer}.linear2`, hidden, width);
  }
  norm('norm');
  projection('classifier', width, classes);
  return made;
}

export interface EncoderBatch {
  /** i32 [batch, tokens] */
  readonly ids: Tensor;
  /** i32 [batch] */
  readonly lengths: Tensor;
  /** f32 [batch, tokens, 1]: 1 / length for tokens of the text, 0 for padding. */
  readonly pooling: Tensor;
  /** i32 [batch] */
  readonly targets: Tensor;
}

/** Texts of random tokens, from half to the whole maximum length; the class depends on the first token. */
export function encoderBatch(backend: Backend, sizes: EncoderSizes, step: number): EncoderBatch {
  const { batch, tokens, vocabulary, classes } = sizes;
  const random = (index: number): number => {
    const mixed = Math.imul(index ^ (step * 0x9e3779b1), 0x85ebca6b);
    return (Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35) ^ (mixed >>> 16)) >>> 0;
  };
  const ids = Int32Array.from({ length: batch * tokens }, (_, i) => random(i) % vocabulary);
  const lengths = Int32Array.from(
    { length: batch },
    (_, i) => tokens / 2 + (random(1_000_003 + i) % (tokens / 2)) + 1,
  );
  const pooling = Float32Array.from({ length: batch * tokens }, (_, i) => {
    const length = lengths[Math.floor(i / tokens)] as number;
    return i % tokens < length ? 1 / length : 0;
  });
  const targets = Int32Array.from({ length: batch }, (_, i) => (ids[i * tokens] as number) % classes);
  return {
    ids: tensor(backend, ids, [batch, tokens], 'i32'),
    lengths: tensor(backend, lengths, [batch], 'i32'),
    pooling: tensor(backend, pooling, [batch, tokens, 1]),
    targets: tensor(backend, targets, [batch], 'i32'),
  };
}

/** Mean cross entropy, with parameters of f32 or f16; `k` undefined: exact attention. */
export function encoderLoss(
  p: ParameterTree,
  { ids, lengths, pooling, targets }: EncoderBatch,
  { layers, heads }: EncoderSizes,
  k: number | undefined,
  isRecomputed = false,
): Tensor {
  const get = (name: string): Tensor => p[name] as Tensor;
  const projectWith = (p: ParameterTree, x: Tensor, name: string): Tensor =>
    linear(x, p[`${name}.weight`] as Tensor, p[`${name}.bias`]);
  const normWith = (p: ParameterTree, x: Tensor, name: string): Tensor =>
    layerNorm(x, p[`${name}.weight`] as Tensor, p[`${name}.bias`]);
  const block = (p: ParameterTree, x: Tensor, layer: number): Tensor =>
    scope(() => {
      const project = (x: Tensor, name: string): Tensor => projectWith(p, x, name);
      const norm = (x: Tensor, name: string): Tensor => normWith(p, x, name);
      const name = (part: string): string => `layers.${layer}.${part}`;
      const before = norm(x, name('norm1'));
      const [q, query, value] = ['q_proj', 'k_proj', 'v_proj'].map((part) =>
        splitHeads(project(before, name(part)), heads),
      ) as [Tensor, Tensor, Tensor];
      const attended =
        k === undefined
          ? exactAttention(q, query, value, { keyLengths: lengths })
          : topKAttention(q, query, value, { k, keyLengths: lengths });
      const summed = add(x, project(mergeHeads(attended), name('out_proj')));
      const [wIn, bIn] = [p[name('linear1.weight')] as Tensor, p[name('linear1.bias')]];
      const hidden = linear(norm(summed, name('norm2')), wIn, bIn, { activation: 'gelu' });
      return add(summed, project(hidden, name('linear2')));
    });
  return scope(() => {
    let x = add(embedding(get('tokens.weight'), ids), get('positions.weight'));
    for (let layer = 0; layer < layers; layer++) {
      // The block's parameters too: copies of them may be gone when it runs again.
      const isOwn = ([name]: readonly [string, Tensor]): boolean => name.startsWith(`layers.${layer}.`);
      const own = { x, p: Object.fromEntries(Object.entries(p).filter(isOwn)) };
      x = isRecomputed ? recompute(({ x, p }) => block(p, x, layer), own) : block(p, x, layer);
    }
    // The mean over a text in f32, as weights of 1 / length would be rounded.
    const pooled = sum(mul(cast(normWith(p, x, 'norm'), 'f32'), pooling), { axes: [1] });
    return crossEntropy(projectWith(p, cast(pooled, x.dtype), 'classifier'), targets);
  });
}
