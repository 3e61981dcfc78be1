import {
  add,
  cast,
  concat,
  mul,
  narrow,
  relativePositionBucket,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import {
  attentionLayer,
  contextOf,
  disposeParameters,
  encoderStack,
  initialize,
  type Mechanism,
  type MechanismAbility,
  type MechanismState,
  type ParameterTree,
  seedsFrom,
  withLosses,
} from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { backend } from './goldens.js';
import { randomTensor } from './random.js';

const x = mul(randomTensor(backend, 7, 2, 9, 8), 0.8);
const seeds = seedsFrom(3);

export async function expectClose(made: Tensor, expected: Tensor, digits = 10): Promise<void> {
  expect(made.shape).toEqual(expected.shape);
  const [numbers, wanted] = await Promise.all([made.data(), expected.data()]);
  for (const [at, number] of Array.from(wanted, Number).entries()) {
    expect(numbers[at]).toBeCloseTo(number, digits);
  }
}

/** The largest difference of numbers. */
export async function differenceOf(a: Tensor, b: Tensor): Promise<number> {
  const [left, right] = await Promise.all([a.data(), b.data()]);
  return Math.max(...Array.from(left, (one, at) => Math.abs(one - (right[at] as number))));
}

export interface LawOptions {
  /** Parameters that finite differences are taken of, besides those of values. Default: queries. */
  readonly trained?: readonly string[];
  /** Parameters without a true gradient, or whose gradient is none. */
  readonly digits?: number;
  /** Whether it is deterministic given its parameters, so that finite differences make sense. Default true. */
  readonly smooth?: boolean;
  /** Whether the layers that are tested are all causal. */
  readonly onlyCausal?: boolean;
}

const abilities: readonly MechanismAbility[] = [
  'causal',
  'keyLengths',
  'mask',
  'bias',
  'relativeBias',
  'dropout',
  'groupedHeads',
  'decoding',
];

/** What every mechanism must keep, by what it takes. */
export function describeLaws(
  title: string,
  mechanism: Mechanism,
  { trained = [], digits = 6, smooth = true, onlyCausal = false }: LawOptions = {},
): void {
  const takes = (ability: MechanismAbility): boolean => mechanism.takes.includes(ability);
  const sizes = { width: 8, heads: 2, ...(takes('groupedHeads') && { keyValueHeads: 1 }) };
  const plain = onlyCausal ? { width: 8, heads: 2, causal: true } : { width: 8, heads: 2 };
  const causality = [...(onlyCausal ? [] : [false]), ...(takes('causal') ? [true] : [])];

  describe(title, () => {
    if (takes('causal')) {
      const layer = attentionLayer({ ...sizes, causal: true, mechanism });
      const context = contextOf(initialize(backend, layer, 5));
      test('causally, later tokens change nothing before them', async () => {
        const whole = layer.apply(context, x);
        await expectClose(layer.apply(context, narrow(x, 1, 0, 5)), narrow(whole, 1, 0, 5));
        const other = concat([narrow(x, 1, 0, 5), mul(narrow(x, 1, 5, 4), -3)], 1);
        await expectClose(narrow(layer.apply(context, other), 1, 0, 5), narrow(whole, 1, 0, 5));
      });
    }

    if (takes('decoding')) {
      test('step by step it gives the same as at once, and leaves nothing behind', async () => {
        const stack = encoderStack({
          ...{ layers: 2, width: 8, heads: 2, hidden: 12, normFirst: true },
          attention: { mechanism, causal: true, ...(mechanism.name !== 'sigmoid' && { rotary: {} }) },
        });
        const own = contextOf(initialize(backend, stack, 6));
        const whole = stack.apply(own, x);
        const before = backend.memory().live;
        let states: readonly MechanismState[] | undefined;
        const outputs: Tensor[] = [];
        let inputs = 0;
        for (const [start, length] of [
          [0, 4],
          [4, 1],
          [5, 4],
        ] as const) {
          const part = narrow(x, 1, start, length);
          inputs += 8 * part.size;
          const step = stack.step(own, part, states);
          for (const { tensors } of states ?? []) disposeParameters(tensors);
          states = step.states;
          outputs.push(step.output);
        }
        expect(states?.[0]?.length).toBe(9);
        const all = concat(outputs, 1);
        await expectClose(all, whole);
        for (const one of [...outputs, all]) one.dispose();
        for (const { tensors } of states ?? []) disposeParameters(tensors);
        expect(backend.memory().live).toBe(before + inputs);
      });
    }

    test('in f16 it is near to f32', async () => {
      const own = createReferenceBackend();
      const layer = attentionLayer({ ...plain, mechanism });
      const parameters = initialize(own, layer, 6);
      const halves = Object.fromEntries(
        Object.entries(parameters).map(([name, one]) => [name, cast(one, 'f16')]),
      );
      const input = randomTensor(own, 7, 2, 9, 8);
      const output = layer.apply(contextOf(halves), cast(input, 'f16'));
      expect(output.dtype).toBe('f16');
      if (!smooth) return;
      const wide = layer.apply(contextOf(parameters), input);
      expect(await differenceOf(cast(output, 'f32'), wide)).toBeLessThan(0.03);
    });

    if (takes('keyLengths')) {
      test.each([50, Number.NaN])('hidden keys are as if they were not there: times %d', async (factor) => {
        const layer = attentionLayer({ ...plain, mechanism });
        const own = contextOf(initialize(backend, layer, 5));
        const keyLengths = tensor(backend, Int32Array.of(6, 6), [2]);
        const padded = concat([narrow(x, 1, 0, 6), mul(narrow(x, 1, 6, 3), factor)], 1);
        const made = narrow(layer.apply(own, padded, { keyLengths }), 1, 0, 6);
        if (mechanism.name === 'SBM') {
          expect(Array.from(await made.data()).every(Number.isFinite)).toBe(true);
          return;
        }
        await expectClose(made, layer.apply(own, narrow(x, 1, 0, 6)));
      });

      test.each(causality)(
        'a text without tokens gives zeros, with finite gradients: causal %s',
        async (causal) => {
          const layer = attentionLayer({ width: 8, heads: 2, causal, mechanism });
          const parameters = initialize(backend, layer, 5);
          const keyLengths = tensor(backend, Int32Array.of(0, 9), [2]);
          // The bias of the output is 0 at first.
          const output = layer.apply(contextOf(parameters), x, { keyLengths });
          await expectClose(narrow(output, 0, 0, 1), zeros(backend, [1, 9, 8]));
          const { gradients } = valueAndGrad((of: ParameterTree) =>
            sum(layer.apply(contextOf(of), x, { keyLengths })),
          )(parameters);
          for (const gradient of Object.values(gradients)) {
            expect(Array.from(await gradient.data()).every(Number.isFinite)).toBe(true);
          }
        },
      );
    }

    if (takes('mask')) {
      test('a mask hides keys, as a bias of -inf or a length does', async () => {
        const layer = attentionLayer({ ...plain, mechanism });
        const own = contextOf(initialize(backend, layer, 5));
        const seen = Array.from({ length: 9 }, (_, at) => at < 6);
        const masked = layer.apply(own, x, { mask: tensor(backend, seen, [1, 1, 1, 9]) });
        const plainly = layer.apply(own, x);
        expect(await differenceOf(masked, plainly)).toBeGreaterThan(1e-4);
        if (!takes('bias')) {
          const keyLengths = tensor(backend, Int32Array.of(6, 6), [2]);
          await expectClose(masked, layer.apply(own, x, { keyLengths }));
          return;
        }
        const biases = seen.map((one) => (one ? 0 : Number.NEGATIVE_INFINITY));
        await expectClose(masked, layer.apply(own, x, { bias: tensor(backend, biases, [1, 1, 1, 9]) }));
      });
    }

    if (takes('relativeBias')) {
      test.each([true, false])(
        'a table of relative biases is their bias: bidirectional %s',
        async (bidirectional) => {
          const layer = attentionLayer({ ...plain, mechanism });
          const own = contextOf(initialize(backend, layer, 5));
          const table = mul(randomTensor(backend, 6, 8, 2), 3);
          const values = await table.data();
          const rule = { bidirectional, buckets: 8, maxDistance: 6 };
          const biases = Float64Array.from({ length: 2 * 81 }, (_, at) => {
            const [head, i, j] = [Math.floor(at / 81), Math.floor(at / 9) % 9, at % 9];
            return values[2 * relativePositionBucket(j - i, rule) + head] as number;
          });
          const relativeBias = { table, bidirectional, maxDistance: 6 };
          await expectClose(
            layer.apply(own, x, { relativeBias }),
            layer.apply(own, x, { bias: tensor(backend, biases, [1, 2, 9, 9]) }),
          );
          const loss = ({ table: of }: ParameterTree): Tensor => {
            const made = layer.apply(own, x, { relativeBias: { ...relativeBias, table: of as Tensor } });
            return sum(mul(made, made));
          };
          const { gradients } = valueAndGrad(loss)({ table });
          await expectSlope(loss, { table }, gradients, 'table', 5);
        },
      );
    }

    if (smooth) {
      test.each(causality)('its gradients are those of finite differences: causal %s', async (causal) => {
        const layer = attentionLayer({ ...sizes, causal, mechanism });
        const parameters = initialize(backend, layer, 8);
        const weights = randomTensor(backend, 9, 2, 9, 8);
        const keyLengths = tensor(backend, Int32Array.of(9, 7), [2]);
        const inputs = takes('keyLengths') ? { keyLengths } : {};
        const loss = (of: ParameterTree): Tensor => {
          const { output, loss: extra } = withLosses(contextOf(of), (inner) =>
            sum(mul(layer.apply(inner, x, inputs), weights)),
          );
          return extra === undefined ? output : add(output, extra);
        };
        const { gradients } = valueAndGrad(loss)(parameters);
        const own = trained.map((name) => `mechanism.${name}`);
        const names = ['q_proj.weight', 'k_proj.weight', 'v_proj.weight', ...own].filter(
          (name) => mechanism.self !== 'tied' || name !== 'k_proj.weight',
        );
        for (const name of names) await expectSlope(loss, parameters, gradients, name, digits);
      });
    }

    test('a training step with dropout is finite', async () => {
      const layer = attentionLayer({
        ...plain,
        mechanism,
        ...(takes('dropout') && { dropout: 0.3 }),
      });
      const parameters = initialize(backend, layer, 8);
      const { gradients, value } = valueAndGrad((of: ParameterTree) => {
        const { output, loss } = withLosses(contextOf(of, { training: true, seeds }), (inner) =>
          sum(layer.apply(inner, x)),
        );
        return loss === undefined ? output : add(output, loss);
      })(parameters);
      for (const one of [value, ...Object.values(gradients)]) {
        expect(Array.from(await one.data()).every(Number.isFinite)).toBe(true);
      }
    });

    test.each(abilities.filter((one) => !takes(one)))('it refuses %s, with the reason', (ability) => {
      const refused = (): unknown => {
        const layer = attentionLayer({
          ...plain,
          mechanism,
          ...(ability === 'causal' && { causal: true }),
          ...(ability === 'dropout' && { dropout: 0.1 }),
          ...(ability === 'groupedHeads' && { keyValueHeads: 1 }),
        });
        const context = contextOf(initialize(backend, layer, 1));
        if (ability === 'decoding') return layer.step(context, x);
        const table = { table: zeros(backend, [8, 2]), bidirectional: true, maxDistance: 16 };
        return layer.apply(context, x, {
          ...(ability === 'mask' && { mask: tensor(backend, [true], [1, 1, 1, 1]) }),
          ...(ability === 'bias' && { bias: zeros(backend, [1, 1, 9, 9]) }),
          ...(ability === 'relativeBias' && { relativeBias: table }),
          ...(ability === 'keyLengths' && { keyLengths: tensor(backend, Int32Array.of(9, 9), [2]) }),
        });
      };
      expect(refused).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
      const reason = mechanism.refusals?.[ability];
      expect(reason).toMatch(/^[A-Z].{20,}[^.]$/);
      expect(refused).toThrow(reason);
    });

    test('it says why a model trained with softmax needs training', () => {
      expect(mechanism.refusals?.zeroShot).toMatch(/^[A-Z].{20,}[^.]$/);
    });
  });
}

/** The gradient along a random direction is the slope of the loss. */
export async function expectSlope(
  loss: (of: ParameterTree) => Tensor,
  parameters: ParameterTree,
  gradients: ParameterTree,
  name: string,
  digits = 6,
): Promise<void> {
  const one = parameters[name] as Tensor;
  const direction = randomTensor(backend, 10, ...one.shape);
  const directions = await direction.data();
  const values = Float64Array.from(await one.data());
  const moved = async (by: number): Promise<number> => {
    const step = tensor(
      backend,
      values.map((value, at) => value + by * (directions[at] as number)),
      one.shape,
    );
    return Number((await loss({ ...parameters, [name]: step }).data())[0]);
  };
  const slope = ((await moved(1e-5)) - (await moved(-1e-5))) / 2e-5;
  const along = sum(mul(gradients[name] as Tensor, direction));
  expect(Number((await along.data())[0]), name).toBeCloseTo(slope, digits);
}
