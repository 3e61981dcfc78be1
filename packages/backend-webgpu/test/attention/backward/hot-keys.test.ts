import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import {
  difference,
  gradientsOfLists,
  type Problem,
  problem,
  roles,
  sharedMachine,
} from '../../support/backward.js';

/** Lists in which slot s of query i holds key `keyOf(i, s)`, with scores of no order. */
function withLists(base: Problem, keyOf: (query: number, slot: number) => number): Problem {
  const { batch, queryHeads, queryLength } = base.request;
  const k = base.request.k as number;
  const rows = batch * queryHeads * queryLength;
  const indices = Int32Array.from({ length: rows * k }, (_, at) =>
    keyOf(Math.floor(at / k) % queryLength, at % k),
  );
  const scores = Float64Array.from(indices, (key, at) =>
    key < 0 ? Number.NEGATIVE_INFINITY : Math.fround(Math.sin(at * 12.9898) * 2),
  );
  return { ...base, lists: { indices, scores } };
}

const shape = {
  queryHeads: 4,
  keyHeads: 2,
  queryLength: 150,
  keyLength: 300,
  headDim: 8,
  valueDim: 4,
  k: 12,
};

const patterns: readonly [string, (query: number, slot: number) => number][] = [
  ['every query keeps the same keys of one tile', (_, slot) => slot],
  ['every query keeps the same keys, tiles apart', (_, slot) => slot * 25],
  ['one key is kept by every query', (query, slot) => (slot === 0 ? 7 : 10 + ((query * 7 + slot) % 280))],
  ['one key is kept by every query and nothing else', (_, slot) => (slot === 0 ? 129 : -1)],
  ['neighbours', (query, slot) => Math.min(query, 288) + slot],
  ['no query keeps any', () => -1],
  ['only the last query keeps keys', (query, slot) => (query === 149 ? slot * 20 : -1)],
];

for (const [name, keyOf] of patterns) {
  optional(`keys kept by very many or no queries: ${name}`, softwareGpuAvailability(), async () => {
    const machine = await sharedMachine();
    const made = withLists(problem(shape, 5), keyOf);
    const expected = gradientsOfLists(made);
    // Small pieces, so that runs of one key are cut; small blocks, so that tiles have several.
    const tuning = { pieceEntries: 64, blockEntries: 256, rowsPerBlock: 32 };
    const first = await machine.gradients(made, tuning);
    for (const role of roles) expect(difference(first[role], expected[role]), role).toBeLessThan(3e-6);
    const second = await machine.gradients(made, tuning);
    for (const role of roles) expect(second[role], `${role} again`).toEqual(first[role]);
    // Two ranges of queries of every head, added up.
    const ranges = await machine.gradients(made, tuning, 40);
    for (const role of roles) expect(difference(ranges[role], expected[role]), role).toBeLessThan(3e-6);
  });
}
