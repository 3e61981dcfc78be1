import { expect, test } from 'vitest';
import { geometryOf, type Part } from '../../../src/attention/shared/geometry.js';
import { recordAddCounters } from '../../../src/attention/tensor/add-counters.js';
import { recordCombine } from '../../../src/attention/tensor/combine.js';
import { recordFilter } from '../../../src/attention/tensor/filter.js';
import { recordPacking } from '../../../src/attention/tensor/packing.js';
import { recordPrepareQueries } from '../../../src/attention/tensor/prepare-queries.js';
import {
  recordSelectSubgroup,
  type SelectInputs,
  type SelectVariant,
} from '../../../src/attention/tensor/select-subgroup.js';
import { recordSelectFlagged, recordSelectListed } from '../../../src/attention/tensor/select-workgroup.js';
import { wholeOf } from '../../../src/runtime/binding.js';
import type { Stream } from '../../../src/runtime/stream.js';
import { arraysFor, requestWith, viewsFor } from '../../support/attention-harness.js';
import { recordedKernels } from '../../support/recorded-kernels.js';
import { SUBGROUPS } from '../../support/recording.js';

const usual: SelectVariant = {
  headDim: 64,
  half: false,
  relative: false,
  keyLengths: false,
  causal: true,
  capacity: 256,
};
const everything: SelectVariant = {
  ...usual,
  headDim: 48,
  half: true,
  relative: true,
  keyLengths: true,
};

const part: Part = { firstHead: 0, heads: 1, firstQuery: 0, queries: 128 };

function record(stream: Stream): void {
  const span = stream.scratch(256);
  const whole = wholeOf(span);
  const geometry = geometryOf(requestWith({}), part);
  for (const variant of [usual, everything, { ...usual, capacity: 1024 }]) {
    const tables = variant.relative ? { span, bucketsAt: 0, tableAt: 0 } : undefined;
    const inputs: SelectInputs = { geometry, kept: 4, q: whole, k: whole, lists: span, tables };
    const slow = { ...variant, invocations: 256 };
    recordSelectSubgroup(stream, variant, inputs, { heads: span, work: span });
    recordSelectListed(stream, variant, inputs, { heads: span, work: span });
    const slice = { first: 0, end: 1, workgroups: 1 };
    recordSelectFlagged(stream, slow, inputs, slice, { flagged: span, orders: span });
  }
  for (const subgroup of [true, false]) {
    for (const valueDim of [64, 20, 256]) {
      const isSmall = valueDim === 20;
      const saved = { indices: whole, scores: whole, rowsPerHead: 1 };
      const variant = { valueDim, half: isSmall, capacity: 256, dropout: isSmall, subgroup };
      recordCombine(stream, variant, geometry, 4, { lists: span, v: whole, out: whole, saved });
    }
  }
  recordAddCounters(stream, 1, span, span);
  for (const headDim of [32, 64, 128]) {
    for (const half of [false, true]) {
      const request = requestWith({ headDim, dtype: half ? 'f16' : 'f32', keyLength: 1024 });
      const keys = recordPacking(stream, request, viewsFor(stream, request, arraysFor(request)), part);
      const q = { q: whole, prepared: span, units: span };
      recordPrepareQueries(stream, { headDim, half }, geometry, keys, q);
      recordFilter(
        stream,
        { headDim, causal: !half, keyLengths: half, capacity: half ? 384 : 256, subgroups: 4 },
        geometry,
        { tiles: 1, k: 4, sampled_from: 1, stride: 2, rank: 1 },
        { queries: span, units: span, keys: span, bounds: span, lists: span, heads: span, counters: span },
        half ? { span, bucketsAt: 0, tableAt: 0 } : undefined,
      );
    }
  }
}

test('shaders of every variant are accepted without a word, and their keys differ where their texts do', async () => {
  const kernels = await recordedKernels(SUBGROUPS, record);
  expect(kernels.length).toBe(3 * 3 + 6 + 1 + 6 * 5);
  expect(new Set(kernels.map(({ source }) => source())).size).toBe(kernels.length);
});
