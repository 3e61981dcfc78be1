import type { AttentionRequest } from '@topk-attention/core/backend';
import { expect, test } from 'vitest';
import { fusedAttentionBackward } from '../../../src/attention/backward/fused-attention-backward.js';
import { groupBytes, heldBytes, planGroups, sortGeometry } from '../../../src/attention/backward/groups.js';
import { DEFAULT_TUNING, GROUP_BYTES, LARGE_GROUP_BYTES } from '../../../src/attention/backward/tuning.js';
import { limitsOf } from '../../../src/limits.js';
import { problem } from '../../support/backward.js';

const MiB = 2 ** 20;

function long(length: number, partial: Partial<AttentionRequest> = {}): AttentionRequest {
  const { request } = problem({});
  const lengths = { queryLength: length, keyLength: length, headDim: 64, valueDim: 64, k: 128 };
  return { ...request, queryHeads: 12, keyHeads: 12, ...lengths, ...partial };
}

const requests: readonly [string, AttentionRequest][] = [
  ['4,096', long(4096)],
  ['16,384', long(16384)],
  ['16,384 grouped', long(16384, { keyHeads: 4 })],
  ['65,536', long(65536)],
  ['65,536 few kept', long(65536, { k: 4 })],
  ['1,048,576', long(1048576)],
  ['odd', long(12345, { batch: 3, k: 77 })],
];

for (const [name, request] of requests) {
  for (const bindingBytes of [128 * MiB, 2 ** 31 - 4]) {
    test(`groups cover every query once and stay small: ${name}, bindings of ${bindingBytes / MiB} MiB`, () => {
      // At 1,048,576 keys one head's keys alone exceed the smallest binding limit: refused, not planned.
      if (4 * request.keyLength * 64 > bindingBytes) return;
      const groups = planGroups(request, DEFAULT_TUNING, bindingBytes, request.queryLength);
      const unitRows = (request.queryHeads / request.keyHeads) * request.queryLength;
      // More than four groups of the smaller size, at 28 bytes an entry.
      const entries = request.batch * request.queryHeads * request.queryLength * (request.k as number);
      const isLong = 28 * entries > 4 * GROUP_BYTES;
      let row = 0;
      for (const group of groups) {
        expect(group.firstRow).toBe(row);
        expect(group.adds).toBe(row % unitRows !== 0);
        row += group.units * group.rowsPerUnit;
        expect(group.isLast).toBe(row % unitRows === 0);
        expect(group.firstUnit).toBe(Math.floor(group.firstRow / unitRows));
        const bytes = groupBytes(
          request,
          sortGeometry(request, DEFAULT_TUNING, group.units, group.rowsPerUnit),
        );
        expect(heldBytes(bytes)).toBeLessThanOrEqual(isLong ? LARGE_GROUP_BYTES : GROUP_BYTES);
        expect(Math.max(...Object.values(bytes))).toBeLessThanOrEqual(bindingBytes);
      }
      expect(row).toBe(request.batch * request.queryHeads * request.queryLength);
    });
  }
}

test('a long call takes larger groups, fewer of them', () => {
  const training = long(4096, { batch: 32, queryHeads: 2, keyHeads: 2, headDim: 32, valueDim: 32 });
  const counts = [long(16_384), training, long(65_536)].map(
    (request) => planGroups(request, DEFAULT_TUNING, 2 ** 31 - 4, request.queryLength).length,
  );
  expect(counts).toEqual([4, 4, 12]);
});

test('a chunk bounds the queries of a group', () => {
  const groups = planGroups(long(4096), DEFAULT_TUNING, 128 * MiB, 16);
  for (const { units, rowsPerUnit } of groups) expect(units * rowsPerUnit).toBeLessThanOrEqual(16 * 12);
});

test('what is not taken is said', () => {
  const facts = {
    features: new Set<string>(),
    bindingBytes: 128 * MiB,
    bufferBytes: 256 * MiB,
    workgroupBytes: 16384,
    workgroupInvocations: 256,
    storageBuffers: 8,
    subgroupMinSize: 0,
    subgroupMaxSize: 0,
    isSoftware: true,
    vendor: '',
    architecture: '',
    description: '',
  };
  // Refusing and planning touch neither stream nor device.
  const nothing = (): never => {
    throw new Error('not to be called');
  };
  const stream = { launch: nothing } as unknown as Parameters<typeof fusedAttentionBackward>[0];
  const operation = fusedAttentionBackward(stream, facts, nothing);
  const prepare = (request: AttentionRequest) => operation.prepare(request, limitsOf(facts));
  const refusals = (request: AttentionRequest): readonly string[] => {
    const prepared = prepare(request);
    return 'refusals' in prepared ? prepared.refusals : [];
  };
  const prepared = prepare(long(16384));
  if ('refusals' in prepared) throw new Error(prepared.refusals.join('; '));
  expect(refusals(long(16384, { k: 'all' }))).toHaveLength(1);
  expect(refusals(long(2 ** 21)).join()).toMatch(/keys exceed/);
  expect(prepared.scratchBytes(16384)).toBeLessThan(200 * MiB);
  expect(prepared.scratchBytes(256)).toBeLessThan(16 * MiB);
  expect(prepared.preferredChunk).toBe(16384);
  expect(prepared.describe?.().variant).toMatch(/^plain, [0-9]+ groups/);
});
