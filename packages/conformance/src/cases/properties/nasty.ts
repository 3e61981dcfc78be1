import fc from 'fast-check';
import { type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import type { AttentionProblem } from '../attention/problem.js';

const INF = Number.POSITIVE_INFINITY;

/** What the keys of a problem look like. All but the last two give scores that are exact in f32. */
export const exactKinds = [
  'few values',
  'all equal',
  'duplicates',
  'sorted up',
  'sorted down',
  'one huge',
  'zeros of both signs',
] as const;
export const infiniteKinds = ['infinities', 'NaN'] as const;
export const roundedKinds = ['fractions', 'subnormals', 'wide range'] as const;
export type Kind =
  | (typeof exactKinds)[number]
  | (typeof infiniteKinds)[number]
  | (typeof roundedKinds)[number];

const maskKinds = ['none', 'none', 'random', 'few valid', 'all masked', 'bias -inf', 'key lengths'] as const;

/** Few shapes, so that backends that compile by shape do not compile for every trial. */
const geometries: readonly (readonly [
  batch: number,
  keyHeads: number,
  group: number,
  lq: number,
  lk: number,
  d: number,
  dv: number,
])[] = [
  [1, 1, 1, 1, 1, 1, 1],
  [1, 1, 1, 3, 8, 2, 2],
  [2, 1, 2, 5, 5, 4, 3],
  [1, 2, 1, 4, 33, 4, 2],
  [1, 1, 1, 6, 3, 3, 1],
];

/** Everything about a trial, small and printable. */
export interface Trial {
  readonly geometry: number;
  readonly kind: Kind;
  readonly mask: (typeof maskKinds)[number];
  readonly causal: boolean;
  readonly start: 'default' | 'first' | 'within' | 'behind';
  readonly k: 'one' | 'two' | 'half' | 'all' | 'more';
  readonly chunk: 'planned' | 'one' | 'two' | 'many';
  readonly scale: number;
  readonly seed: number;
}

export function trials(kinds: readonly Kind[]): fc.Arbitrary<Trial> {
  return fc.record({
    geometry: fc.integer({ min: 0, max: geometries.length - 1 }),
    kind: fc.constantFrom(...kinds),
    mask: fc.constantFrom(...maskKinds),
    causal: fc.boolean(),
    start: fc.constantFrom('default', 'default', 'first', 'within', 'behind'),
    k: fc.constantFrom('one', 'two', 'half', 'all', 'more'),
    chunk: fc.constantFrom('planned', 'one', 'two', 'many'),
    scale: fc.constantFrom(0.5, 0.5, 0.7, -0.3, 1),
    seed: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
  });
}

function keyValues(kind: Kind, random: Random, shape: readonly number[]): Nd {
  const [, , length = 1, width = 1] = shape;
  switch (kind) {
    case 'few values':
      return random.integers(shape, -1, 1);
    case 'all equal':
      return nd(shape, () => 1);
    case 'duplicates': {
      const half = random.integers(shape, -3, 3);
      return nd(shape, ([b = 0, h = 0, j = 0, d = 0]) => {
        const twin = j % Math.max(1, Math.ceil(length / 2));
        return half.data[((b * (shape[1] ?? 1) + h) * length + twin) * width + d] as number;
      });
    }
    case 'sorted up':
      return nd(shape, ([, , j = 0, d]) => (d === 0 ? j : 0));
    case 'sorted down':
      return nd(shape, ([, , j = 0, d]) => (d === 0 ? -j : 0));
    case 'one huge': {
      const huge = random.integer(0, length - 1);
      return nd(shape, ([, , j, d]) =>
        j === huge && d === 0 ? 2 ** 40 : j === huge ? 0 : random.integer(-2, 2),
      );
    }
    case 'zeros of both signs':
      return nd(shape, () => (random.next() < 0.5 ? 0 : -0));
    case 'infinities':
      return nd(shape, () => (random.next() < 0.1 ? random.pick([INF, -INF]) : random.integer(-2, 2)));
    case 'NaN':
      return nd(shape, () => (random.next() < 0.05 ? Number.NaN : random.integer(-2, 2)));
    case 'fractions':
      return random.uniform(shape);
    case 'subnormals':
      return nd(shape, () => random.integer(-5, 5) * 2 ** -149);
    case 'wide range':
      return nd(shape, () => Math.fround((random.next() - 0.5) * 10 ** random.integer(-6, 2)));
    default:
      return kind satisfies never;
  }
}

function hiding(
  mask: Trial['mask'],
  random: Random,
  batch: number,
  heads: number,
  lq: number,
  lk: number,
): Partial<AttentionProblem> {
  switch (mask) {
    case 'none':
      return {};
    case 'random':
      return { mask: random.booleans([batch, 1, lq, lk]) };
    case 'few valid':
      return { mask: random.booleans([batch, heads, lq, lk], 0.15) };
    case 'all masked':
      return { mask: nd([1, 1, 1, 1], () => 0) };
    case 'bias -inf':
      return { bias: nd([1, heads, lq, lk], () => (random.next() < 0.5 ? -INF : random.integer(-3, 3) / 4)) };
    case 'key lengths':
      return { keyLengths: random.integers([batch], 0, lk) };
    default:
      return mask satisfies never;
  }
}

export function problemOf(trial: Trial): AttentionProblem {
  const random = new Random(`trial ${trial.seed}`);
  const [batch, keyHeads, group, lq, lk, d, dv] = geometries[trial.geometry] ?? [1, 1, 1, 1, 1, 1, 1];
  const heads = keyHeads * group;
  const isRounded = roundedKinds.some((kind) => kind === trial.kind);
  const k = { one: 1, two: 2, half: Math.ceil(lk / 2), all: lk, more: lk + 3 }[trial.k];
  const queryStart = { default: undefined, first: 0, within: Math.floor(lk / 2), behind: lk + 1 }[
    trial.start
  ];
  const chunk = { planned: undefined, one: 1, two: 2, many: lq + 5 }[trial.chunk];
  const queries = [batch, heads, lq, d];
  return {
    q: isRounded ? random.uniform(queries) : random.integers(queries, -2, 2),
    k: keyValues(trial.kind, random, [batch, keyHeads, lk, d]),
    v: random.uniform([batch, keyHeads, lk, dv]),
    // With a bias only a power of two keeps sums exact.
    scale: isRounded || trial.mask === 'bias -inf' ? 0.5 : trial.scale,
    kept: k,
    causal: trial.causal,
    ...(queryStart !== undefined && { queryStart }),
    ...hiding(trial.mask, random, batch, heads, lq, lk),
    ...(chunk !== undefined && { queryChunk: chunk }),
  };
}
