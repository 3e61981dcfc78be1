import type { Backend } from '@topk-attention/core';
import { sizeOf } from '@topk-attention/core';
import type { BackendTensor, DeviceLimits } from '@topk-attention/core/backend';
import type { PlainAttention } from './plain-attention.js';

/** What may change from one answer to the next. */
export interface Steering {
  /** Scratch bytes that the planner aims at; undefined: the backend's own. */
  scratchBytes: number | undefined;
  /** Attention selects keys at random, from this source of numbers in [0, 1); undefined: the largest. */
  random: (() => number) | undefined;
  /** What runs attention instead of the inner backend; undefined: the inner backend. */
  plain: PlainAttention | undefined;
}

/**
 * A backend with handles for what a model's own options cannot say: how much scratch memory planning may use, and what
 * attention runs. Everything else is the inner backend's. It stands in for two options of a model: `budgetBytes` of
 * `generate` and `explain`, handed on to every attention and feed-forward call, and an attention choice that is a function
 * of queries, keys, values and options.
 */
export function steeredBackend(inner: Backend): { readonly backend: Backend; readonly steering: Steering } {
  const steering: Steering = { scratchBytes: undefined, random: undefined, plain: undefined };
  const limits = (): DeviceLimits => {
    const own = inner.capabilities.limits;
    const { scratchBytes: bytes, random } = steering;
    return {
      ...own,
      ...(bytes !== undefined && {
        targetScratchBytes: Math.min(own.targetScratchBytes, bytes),
        minQueryChunk: 1,
      }),
      // Random choice among the best blocks would not be a random choice.
      ...(random && { twoLevel: null }),
    };
  };
  const { attention: _attention, ...withoutAttention } = inner.fused ?? {};
  const replaced: { readonly [name: PropertyKey]: () => unknown } = {
    capabilities: () => ({ ...inner.capabilities, limits: limits() }),
    // Without a fused attention core composes it, and selects with topK.
    fused: () => {
      if (steering.plain !== undefined) return { ...inner.fused, attention: steering.plain };
      return steering.random === undefined ? inner.fused : withoutAttention;
    },
    topK: () => (x: BackendTensor, k: number) =>
      // Scores of attention are [B, H, Lq, Lk], those of a feed-forward layer [tokens, units].
      steering.random !== undefined && x.shape.length === 4
        ? randomK(inner, x, k, steering.random)
        : inner.topK(x, k),
  };
  const backend = new Proxy(inner, {
    get(target, name) {
      if (Object.hasOwn(replaced, name)) return replaced[name]?.();
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  return { backend, steering };
}

/** As `Backend.topK`, but k random entries above -inf instead of the largest. */
function randomK(
  backend: Backend,
  x: BackendTensor,
  k: number,
  random: () => number,
): { readonly values: BackendTensor; readonly indices: BackendTensor } {
  const numbers = new Float32Array(sizeOf(x.shape));
  for (let i = 0; i < numbers.length; i++) numbers[i] = random();
  const made: BackendTensor[] = [];
  const keep = (one: BackendTensor): BackendTensor => {
    made.push(one);
    return one;
  };
  const hidden = keep(backend.fill(Number.NEGATIVE_INFINITY, [], x.dtype));
  const isValid = keep(backend.compare('lt', hidden, x));
  const ranking = keep(backend.where(isValid, keep(backend.upload(numbers, x.shape, 'f32')), hidden));
  const { values, indices } = backend.topK(ranking, k);
  keep(values);
  const isUnused = keep(backend.compare('lt', indices, keep(backend.fill(0, [], 'i32'))));
  const scores = backend.where(isUnused, hidden, keep(backend.takeAlong(x, indices)));
  for (const one of made) backend.release(one);
  return { values: scores, indices };
}
