import {
  add,
  type Backend,
  mean,
  mul,
  scope,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import {
  addLoss,
  type Context,
  contextOf,
  decoderStack,
  encoderStack,
  initialize,
  type Layer,
  type ParameterTree,
  seedsFrom,
  topK,
} from '../../src/index.js';
import { recomputed } from '../../src/layers/recomputed.js';

const numbers = (size: number, seed: number): Float32Array =>
  Float32Array.from({ length: size }, (_, i) => Math.sin(1.7 * i + 12.9898 * seed));

const options = {
  ...{ layers: 3, width: 8, heads: 2, hidden: 16, normFirst: true, dropout: 0.2 },
  attention: { mechanism: topK({ k: 3 }) },
  relativePositions: { buckets: 8, maxDistance: 16 },
};

interface Inputs {
  readonly x: Tensor;
  readonly memory: Tensor;
  readonly lengths: Tensor;
}

/** Losses and gradients of a training run through a stack, and the bytes they took. */
async function trained(layer: Layer<never>, apply: (context: Context, inputs: Inputs) => Tensor) {
  const backend: Backend = createReferenceBackend();
  const parameters = initialize(backend, layer, 7);
  const inputs = {
    x: tensor(backend, numbers(80, 1), [2, 5, 8]),
    memory: tensor(backend, numbers(96, 2), [2, 6, 8]),
    lengths: tensor(backend, Int32Array.of(3, 5), [2], 'i32'),
  };
  const before = backend.memory().live;
  backend.resetPeak();
  const { value, gradients } = valueAndGrad((p: ParameterTree) =>
    scope(() => {
      const y = apply(contextOf(p, { training: true, seeds: seedsFrom(3) }), inputs);
      return mean(mul(y, y));
    }),
  )(parameters);
  const { peak } = backend.memory();
  const read = await Promise.all([value, ...Object.values(gradients)].map((one) => one.data()));
  for (const one of [value, ...Object.values(gradients)]) one.dispose();
  expect(backend.memory().live).toBe(before);
  return { read, peak: (peak as number) - before };
}

describe('stacks that recompute their layers', () => {
  test('an encoder has the same bits, in less memory', async () => {
    const of = (recompute: boolean) => {
      const stack = encoderStack({ ...options, recompute });
      return trained(stack as Layer<never>, (context, { x, lengths }) =>
        stack.apply(context, x, { keyLengths: lengths }),
      );
    };
    const [plain, again] = [await of(false), await of(true)];
    expect(again.read).toEqual(plain.read);
    expect(again.peak).toBeLessThan(0.85 * plain.peak);
  });

  test('a decoder has the same bits, in less memory', async () => {
    const of = (recompute: boolean) => {
      const stack = decoderStack({ ...options, attention: { causal: true }, recompute });
      return trained(stack as Layer<never>, (context, { x, memory, lengths }) =>
        stack.apply(context, x, memory, { memoryLengths: lengths }),
      );
    };
    const [plain, again] = [await of(false), await of(true)];
    expect(again.read).toEqual(plain.read);
    expect(again.peak).toBeLessThan(0.85 * plain.peak);
  });
});

test('losses that layers add get gradients, and hooks that look are called once', async () => {
  const backend = createReferenceBackend();
  const x = tensor(backend, [1, 2, 3]);
  const run = (isRecomputed: boolean) => {
    const seen: string[] = [];
    const losses: Tensor[] = [];
    // In a scope of its own, as layers are.
    const layer = (context: Context, from: Tensor): Tensor =>
      scope(() => {
        context.trace?.onResidual?.(context.path, from.unscopedAlias());
        const inner = context.trace?.overrideResidual?.(context.path, from) ?? from;
        addLoss(context, sum(mul(inner, inner)));
        return mul(inner, 2);
      });
    const gradients = valueAndGrad(({ x: own }: ParameterTree) =>
      scope(() => {
        const context: Context = {
          ...contextOf(
            {},
            {
              training: true,
              trace: {
                onResidual: (path, one) => {
                  seen.push(path);
                  one.dispose();
                },
                overrideResidual: (_, one) => mul(one, 3),
              },
            },
          ),
          path: 'layers.0',
          onLoss: (path, loss) => {
            seen.push(`loss of ${path}`);
            losses.push(loss);
          },
        };
        const made = isRecomputed ? recomputed(context, own as Tensor, layer) : layer(context, own as Tensor);
        return add(sum(made), losses[0] as Tensor);
      }),
    )({ x });
    for (const loss of losses) loss.dispose();
    return { seen, gradients };
  };
  const [plain, again] = [run(false), run(true)];
  expect(again.seen).toEqual(['layers.0', 'loss of layers.0']);
  expect(again.seen).toEqual(plain.seen);
  // 6 + 18 x
  expect(Array.from(await (again.gradients.gradients.x as Tensor).data())).toEqual([24, 42, 60]);
  for (const { gradients } of [plain, again]) {
    gradients.value.dispose();
    (gradients.gradients.x as Tensor).dispose();
  }
  expect(backend.memory().live).toBe(12);
});
