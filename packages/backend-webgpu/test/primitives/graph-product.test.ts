import type { Shape } from '@topk-attention/core';
import type { FusedOperation, GraphProductInputs, GraphProductRequest } from '@topk-attention/core/backend';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, expect, test } from 'vitest';
import { limitsOf } from '../../src/limits.js';
import { graphProducts, transposedGraphProducts } from '../../src/primitives/graph-product.js';
import type { DeviceFacts } from '../../src/runtime/facts.js';
import type { Stream } from '../../src/runtime/stream.js';
import type { View } from '../../src/runtime/view.js';
import { narrowBindings } from '../support/narrow-bindings.js';
import { generator, Harness } from '../support/primitives-harness.js';
import { PLAIN } from '../support/recording.js';

const software = softwareGpuAvailability();

type Sizes = Omit<GraphProductRequest, 'saves'>;
type Choose = (random: () => number, query: number, slot: number) => number;
type Operation = FusedOperation<GraphProductRequest, GraphProductInputs<View>, { readonly output: View }>;

interface Arrays {
  readonly weights: number[];
  readonly graph: number[];
  /** Of keys, and of queries. */
  readonly rows: { readonly product: number[]; readonly transpose: number[] };
}

const isUsed = (key: number, { keys }: Sizes): boolean => key >= 0 && key < keys;

/** Numbers for a call: NaN and infinities where they must not matter, at unused slots and in rows of keys without slots. */
function arraysOf(sizes: Sizes, choose: Choose): Arrays {
  const { groups, queries, keys, slots, width } = sizes;
  const random = generator(groups + 7 * queries + 31 * slots + width);
  const filled = (count: number): number[] =>
    Array.from({ length: count }, () => Math.fround(2 * random() - 1));
  const graph = Array.from({ length: groups * queries * slots }, (_, at) =>
    choose(random, Math.floor(at / slots) % queries, at % slots),
  );
  const weights = filled(graph.length).map((one, at) =>
    isUsed(graph[at] as number, sizes) ? one : at % 2 === 0 ? Number.NaN : Number.POSITIVE_INFINITY,
  );
  const listed = new Set(graph.map((key, at) => Math.floor(at / (queries * slots)) * keys + key));
  const ofKeys = filled(groups * keys * width).map((one, at) =>
    listed.has(Math.floor(at / width)) ? one : Number.NaN,
  );
  return { weights, graph, rows: { product: ofKeys, transpose: filled(groups * queries * width) } };
}

/** Sums in f64, and of the absolute values of their terms. */
function sumsOf(sizes: Sizes, { weights, graph, rows }: Arrays, side: keyof Arrays['rows']) {
  const { groups, queries, keys, slots, width } = sizes;
  const made = side === 'product' ? queries : keys;
  const sums = new Float64Array(groups * made * width);
  const terms = new Float64Array(sums.length);
  for (const [at, key] of graph.entries()) {
    if (!isUsed(key, sizes)) continue;
    const query = Math.floor(at / slots);
    const ofKey = Math.floor(query / queries) * keys + key;
    const [from, to] = side === 'product' ? [ofKey, query] : [query, ofKey];
    for (let column = 0; column < width; column++) {
      const term = (weights[at] as number) * (rows[side][from * width + column] as number);
      sums[to * width + column] = (sums[to * width + column] as number) + term;
      terms[to * width + column] = (terms[to * width + column] as number) + Math.abs(term);
    }
  }
  return { sums, terms };
}

interface Bounds {
  readonly bindingBytes?: number;
  readonly most?: number;
}

/** Runs both operations, twice each, against sums in f64. */
async function check(sizes: Sizes, choose: Choose, { bindingBytes, most }: Bounds = {}): Promise<void> {
  const harness = await Harness.create();
  const { groups, queries, keys, slots, width } = sizes;
  const arrays = arraysOf(sizes, choose);
  const weights = harness.upload(arrays.weights, [groups, queries, slots]).view;
  const graph = harness.upload(arrays.graph, [groups, queries, slots], 'i32').view;
  const stream = bindingBytes === undefined ? harness.stream : narrowBindings(harness.stream, bindingBytes);
  const facts: DeviceFacts = { ...harness.stream.facts, ...(bindingBytes !== undefined && { bindingBytes }) };
  const request = { ...sizes, ...(most !== undefined && { most }) };
  const allocate = (shape: Shape): View => harness.empty(shape);
  for (const [side, operation, given] of [
    ['product', graphProducts(stream, facts, allocate), keys],
    ['transpose', transposedGraphProducts(stream, facts, allocate), queries],
  ] as const) {
    const prepared = (operation as Operation).prepare(request, limitsOf(facts));
    if ('refusals' in prepared) throw new Error(prepared.refusals.join('; '));
    const rows = harness.upload(arrays.rows[side], [groups, given, width]).view;
    const made = await harness.read(prepared.run({ weights, graph, rows }, 1).output);
    const { sums, terms } = sumsOf(sizes, arrays, side);
    expect(made.length).toBe(sums.length);
    const wrong = made.findIndex(
      (one, at) => !(Math.abs(one - (sums[at] as number)) <= 1e-5 * (terms[at] as number)),
    );
    expect(wrong, `${side}: ${made[wrong]}, not ${sums[wrong]}, at ${wrong}`).toBe(-1);
    const again = await harness.read(prepared.run({ weights, graph, rows }, 1).output);
    expect(again.every((one, at) => Object.is(one, made[at]))).toBe(true);
  }
  harness.close();
}

/** Any key, unused slots and numbers outside of the keys among them. */
const mixed =
  (keys: number): Choose =>
  (random) => {
    const kind = random();
    if (kind < 0.2) return -1;
    if (kind < 0.25) return [keys, -5, 2 ** 31 - 1, -(2 ** 31)][Math.floor(4 * random())] as number;
    return Math.floor(keys * random());
  };

const shape = (sizes: Sizes): string =>
  `${sizes.groups} groups, ${sizes.queries} x ${sizes.slots} of ${sizes.keys}, width ${sizes.width}`;

describe('sums over a graph', () => {
  for (const width of [1, 3, 4, 128, 70, 260]) {
    for (const sizes of [
      { groups: 1, queries: 1, keys: 1, slots: 1, width },
      { groups: 3, queries: 13, keys: 9, slots: 5, width },
      { groups: 2, queries: 7, keys: 40, slots: 130, width },
    ]) {
      optional(`random: ${shape(sizes)}`, software, () => check(sizes, mixed(sizes.keys)));
    }
  }

  const sizes = { groups: 2, queries: 50, keys: 30, slots: 8, width: 8 };
  const graphs: Readonly<Record<string, Choose>> = {
    'no slot used': () => -1,
    'one key for all': () => 17,
    'each key twice in a row': (_, query, slot) => (query + Math.floor(slot / 2)) % 30,
    'some queries without keys': (random, query) => (query % 3 === 0 ? -1 : Math.floor(30 * random())),
    'used slots last': (_, query, slot) => (slot < 5 ? -1 : query % 30),
  };
  for (const [name, choose] of Object.entries(graphs)) {
    optional(`${name}: ${shape(sizes)}`, software, () => check(sizes, choose));
  }

  const long = { groups: 1, queries: 2, keys: 50, slots: 1300, width: 128 };
  optional(`more slots than a workgroup holds: ${shape(long)}`, software, () => check(long, mixed(50)));

  const many = { groups: 2, queries: 600, keys: 90, slots: 128, width: 4 };
  optional(`long blocks of entries: ${shape(many)}`, software, () => check(many, mixed(90)));
});

describe('groups in several launches', () => {
  const sizes = { groups: 7, queries: 10, keys: 11, slots: 6, width: 8 };
  for (const width of [8, 3]) {
    optional(`bindings of 2 KiB, width ${width}`, software, () =>
      check({ ...sizes, width }, mixed(11), { bindingBytes: 2048 }),
    );
    optional(`a bound for scratch, width ${width}`, software, () =>
      check({ ...sizes, width }, mixed(11), { most: 2 * 2 * 60 }),
    );
  }
});

describe('plans', () => {
  const unused = {} as Stream;
  const operations = (facts: DeviceFacts): Readonly<Record<string, Operation>> => {
    const allocate = (): View => {
      throw new Error('nothing is made');
    };
    return {
      product: graphProducts(unused, facts, allocate),
      transpose: transposedGraphProducts(unused, facts, allocate),
    };
  };
  const sizes = { groups: 64, queries: 4000, keys: 4000, slots: 128, width: 128 };

  test('what they do not take, they refuse', () => {
    for (const operation of Object.values(operations(PLAIN))) {
      const refusalsOf = (request: Sizes): readonly string[] => {
        const prepared = operation.prepare(request, limitsOf(PLAIN));
        return 'refusals' in prepared ? prepared.refusals : [];
      };
      for (const role of ['groups', 'queries', 'keys', 'slots', 'width']) {
        expect(refusalsOf({ ...sizes, [role]: 0 })).toEqual(['nothing to add']);
      }
      expect(refusalsOf({ ...sizes, queries: 2 ** 20 })).toEqual([expect.stringContaining('binding')]);
      expect(refusalsOf({ ...sizes, keys: 2 ** 20 })).toEqual([expect.stringContaining('binding')]);
      expect(refusalsOf(sizes)).toEqual([]);
    }
  });

  test('scratch is that of a run of groups', () => {
    const scratchOf = (facts: DeviceFacts, request: Sizes & { most?: number }, side: string): number => {
      const prepared = (operations(facts)[side] as Operation).prepare(request, limitsOf(facts));
      if ('refusals' in prepared) throw new Error(prepared.refusals.join('; '));
      return prepared.scratchBytes(1);
    };
    const large = { ...PLAIN, bindingBytes: 2 ** 31 - 4, bufferBytes: 2 ** 31 };
    expect(scratchOf(large, sizes, 'product')).toBe(0);
    // All at once: two lists of 8 bytes per slot, and counts; or 16 groups.
    const entries = 64 * 4000 * 128;
    expect(scratchOf(large, { ...sizes, most: 2 ** 27 }, 'transpose') / (16 * entries)).toBeCloseTo(1, 2);
    expect(scratchOf(large, sizes, 'transpose') / (16 * entries)).toBeCloseTo(0.25, 2);
    expect(scratchOf(PLAIN, { ...sizes, most: 2 ** 27 }, 'transpose')).toBeLessThan(2.1 * 2 ** 27);
    // Few entries have short blocks, whose parts take more than the sort.
    const small = { ...sizes, groups: 1, queries: 100, slots: 4 };
    expect(scratchOf(PLAIN, small, 'transpose')).toBe(8 * 400 + 8 * 13 * 128 + 4 * 4001);
  });
});
