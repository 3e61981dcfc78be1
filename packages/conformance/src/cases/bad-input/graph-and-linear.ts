import {
  explainGraphAttention,
  explainLinearAttention,
  type GraphAttentionOptions,
  graphAttention,
  type LinearAttentionOptions,
  linearAttention,
} from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { bad, type Tools } from './bad.js';

type Shape = readonly number[];

interface GraphShapes {
  readonly q?: Shape;
  readonly k?: Shape;
  readonly v?: Shape;
  readonly graph?: Shape;
}

function attend(t: Tools, shapes: GraphShapes, options: GraphAttentionOptions = {}): unknown {
  const { q = [2, 4, 3, 5], k = [2, 2, 6, 5], v = [2, 2, 6, 7], graph = [2, 4, 3, 2] } = shapes;
  return graphAttention(t.zeros(...q), t.zeros(...k), t.zeros(...v), t.ints(...graph), options);
}

const badGraphs: readonly (readonly [name: string, shapes: GraphShapes, code: string])[] = [
  ['q of rank 3', { q: [2, 3, 5] }, 'RANK_MISMATCH'],
  ['different head dims', { k: [2, 2, 6, 4] }, 'SHAPE_MISMATCH'],
  ['no queries', { q: [2, 4, 0, 5], graph: [2, 4, 0, 2] }, 'EMPTY_SEQUENCE'],
  ['no keys', { k: [2, 2, 0, 5], v: [2, 2, 0, 7] }, 'EMPTY_SEQUENCE'],
  ['a graph of rank 3', { graph: [4, 3, 2] }, 'SHAPE_MISMATCH'],
  ['a graph of the key heads', { graph: [2, 2, 3, 2] }, 'SHAPE_MISMATCH'],
  ['a graph of more queries', { graph: [2, 4, 4, 2] }, 'SHAPE_MISMATCH'],
];

const badGraphOptions: readonly (readonly [string, (t: Tools) => GraphAttentionOptions, string])[] = [
  ['a scale of NaN', () => ({ scale: Number.NaN }), 'INVALID_OPTION'],
  ['queryChunk = 0', () => ({ queryChunk: 0 }), 'INVALID_OPTION'],
  ['queryStart = -1', () => ({ causal: true, queryStart: -1 }), 'INVALID_OPTION'],
  ['a bias of all keys', (t) => ({ bias: t.zeros(2, 4, 3, 6) }), 'SHAPE_MISMATCH'],
  ['an i32 bias', (t) => ({ bias: t.ints(2, 4, 3, 2) }), 'DTYPE_MISMATCH'],
  ['a mask of pairs', (t) => ({ keyMask: t.bools(1, 1, 3, 6) }), 'SHAPE_MISMATCH'],
  ['a float mask', (t) => ({ keyMask: t.zeros(2, 6) }), 'DTYPE_MISMATCH'],
  ['keyLengths of another batch', (t) => ({ keyLengths: t.ints(3) }), 'SHAPE_MISMATCH'],
  ['a budget of one byte', () => ({ budgetBytes: 1 }), 'DOES_NOT_FIT'],
];

interface LinearShapes {
  readonly queryFeatures?: Shape;
  readonly keyFeatures?: Shape;
  readonly value?: Shape;
}

function attendLinearly(t: Tools, shapes: LinearShapes, options: LinearAttentionOptions = {}): unknown {
  const { queryFeatures = [2, 4, 3, 5], keyFeatures = [2, 2, 6, 5], value = [2, 2, 6, 7] } = shapes;
  const [q, k, v] = [t.zeros(...queryFeatures), t.zeros(...keyFeatures), t.zeros(...value)];
  return linearAttention(q, k, v, { ...options, returnState: true });
}

const badFeatures: readonly (readonly [name: string, shapes: LinearShapes, code: string])[] = [
  ['queries of rank 3', { queryFeatures: [2, 3, 5] }, 'RANK_MISMATCH'],
  ['different widths of features', { queryFeatures: [2, 4, 3, 4] }, 'SHAPE_MISMATCH'],
  ['different lengths of keys and values', { value: [2, 2, 5, 7] }, 'SHAPE_MISMATCH'],
  ['query heads not a multiple of key heads', { queryFeatures: [2, 3, 3, 5] }, 'SHAPE_MISMATCH'],
  ['no keys', { keyFeatures: [2, 2, 0, 5], value: [2, 2, 0, 7] }, 'EMPTY_SEQUENCE'],
  ['no features', { queryFeatures: [2, 4, 3, 0], keyFeatures: [2, 2, 6, 0] }, 'SHAPE_MISMATCH'],
  ['no value dimension', { value: [2, 2, 6, 0] }, 'SHAPE_MISMATCH'],
];

const badLinearOptions: readonly (readonly [string, (t: Tools) => LinearAttentionOptions, string])[] = [
  ['epsilon = -1', () => ({ epsilon: -1 }), 'INVALID_OPTION'],
  ['epsilon = NaN', () => ({ epsilon: Number.NaN }), 'INVALID_OPTION'],
  ['leastDenominator = 0', () => ({ leastDenominator: 0 }), 'INVALID_OPTION'],
  ['an epsilon without normalise', () => ({ normalise: false, epsilon: 1 }), 'INVALID_OPTION'],
  [
    'log scales without normalise',
    (t) => ({ normalise: false, keyLogScale: t.zeros(2, 2, 6) }),
    'INVALID_OPTION',
  ],
  ['log scales with an epsilon', (t) => ({ epsilon: 1e-6, keyLogScale: t.zeros(2, 2, 6) }), 'INVALID_OPTION'],
  [
    'log scales with a least denominator',
    (t) => ({ leastDenominator: 1, keyLogScale: t.zeros(2, 2, 6) }),
    'INVALID_OPTION',
  ],
  ['log scales of the query heads', (t) => ({ keyLogScale: t.zeros(2, 4, 6) }), 'SHAPE_MISMATCH'],
  ['i32 log scales', (t) => ({ keyLogScale: t.ints(2, 2, 6) }), 'DTYPE_MISMATCH'],
  ['a float mask', (t) => ({ keyMask: t.zeros(2, 6) }), 'DTYPE_MISMATCH'],
  ['a mask of other keys', (t) => ({ keyMask: t.bools(2, 5) }), 'SHAPE_MISMATCH'],
  ['keyLengths of another batch', (t) => ({ keyLengths: t.ints(3) }), 'SHAPE_MISMATCH'],
  [
    'a state of other features',
    (t) => ({ state: { sums: t.zeros(2, 2, 4, 7), total: t.zeros(2, 2, 4) } }),
    'SHAPE_MISMATCH',
  ],
  [
    'a state with a log scale, keys without',
    (t) => ({ state: { sums: t.zeros(2, 2, 5, 7), total: t.zeros(2, 2, 5), logScale: t.zeros(2, 2) } }),
    'INVALID_OPTION',
  ],
  ['chunk = 1.5', () => ({ chunk: 1.5 }), 'INVALID_OPTION'],
  ['a budget of one byte', () => ({ budgetBytes: 1 }), 'DOES_NOT_FIT'],
];

export const graphAndLinearBadInputCases: readonly ConformanceCase[] = [
  ...badGraphs.map(([name, shapes, code]) => bad(`graphAttention, ${name}`, code, (t) => attend(t, shapes))),
  ...badGraphOptions.map(([name, options, code]) =>
    bad(`graphAttention, ${name}`, code, (t) => attend(t, {}, options(t))),
  ),
  bad('graphAttention, a graph of floats', 'DTYPE_MISMATCH', (t) => {
    const x = t.zeros(1, 1, 3, 4);
    return graphAttention(x, x, x, t.zeros(1, 1, 3, 2));
  }),
  bad('graphAttention, a graph of booleans', 'DTYPE_MISMATCH', (t) => {
    const x = t.zeros(1, 1, 3, 4);
    return graphAttention(x, x, x, t.bools(1, 1, 3, 3));
  }),
  bad('explainGraphAttention, a graph of other queries', 'SHAPE_MISMATCH', ({ backend }) => {
    const x = [1, 1, 3, 4];
    return explainGraphAttention(backend, { q: x, k: x, v: x, graph: [1, 1, 4, 2] });
  }),
  ...badFeatures.map(([name, shapes, code]) =>
    bad(`linearAttention, ${name}`, code, (t) => attendLinearly(t, shapes)),
  ),
  ...badLinearOptions.map(([name, options, code]) =>
    bad(`linearAttention, ${name}`, code, (t) => attendLinearly(t, {}, options(t))),
  ),
  bad('linearAttention, features of i32', 'DTYPE_MISMATCH', (t) => {
    const x = t.ints(1, 1, 3, 4);
    return linearAttention(x, x, x);
  }),
  bad('explainLinearAttention, other widths of features', 'SHAPE_MISMATCH', ({ backend }) => {
    const [x, y] = [
      [1, 1, 3, 4],
      [1, 1, 3, 5],
    ];
    return explainLinearAttention(backend, {
      queryFeatures: x as Shape,
      keyFeatures: y as Shape,
      value: x as Shape,
    });
  }),
];
