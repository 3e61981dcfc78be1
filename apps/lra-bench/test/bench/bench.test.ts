import { join } from 'node:path';
import { sub, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { attentionLayer, contextOf, initialize } from '@topk-attention/nn';
import { expect, test } from 'vitest';
import { readBench } from '../../src/bench/result.js';
import { studies } from '../../src/bench/studies.js';
import { wholeAttention } from '../../src/bench/whole-attention.js';
import { lra, temporaryFolder } from '../support/command-line.js';

const folder = temporaryFolder();

/** These studies draw nothing at random. */
const noSeeds = () => 0;

test('all scores at once give what exact attention gives', async () => {
  const backend = createReferenceBackend();
  const sizes = { width: 16, heads: 2, causal: true };
  const [whole, exact] = [attentionLayer({ ...sizes, mechanism: wholeAttention() }), attentionLayer(sizes)];
  const parameters = initialize(backend, exact, 3);
  const x = tensor(
    backend,
    Float32Array.from({ length: 9 * 16 }, (_, at) => Math.sin(at)),
    [1, 9, 16],
  );
  const [a, b] = [whole, exact].map((layer) => layer.apply(contextOf(parameters), x));
  const difference = await sub(a!, b!).data();
  expect(Math.max(...Array.from(difference, Math.abs))).toBeLessThan(1e-5);
});

test('all hidden units at once give what chunks of tokens give', async () => {
  const backend = createReferenceBackend();
  const [whole, exact] = (['whole', 'exact'] as const).map((way) =>
    studies['feed-forward'].make(backend, way, 12, { k: 4, tokens: 7, layers: 1 }),
  );
  const difference = await sub(
    whole!.apply(whole!.tensors, noSeeds),
    exact!.apply(exact!.tensors, noSeeds),
  ).data();
  expect(difference).toHaveLength(7 * 768);
  expect(Math.max(...Array.from(difference, Math.abs))).toBeLessThan(1e-5);
});

test('every study runs, small, and its file is read back', async () => {
  const out = join(folder, 'bench.json');
  const small = [
    '--x',
    '8',
    '--tokens',
    '8',
    '--layers',
    '1',
    '--k',
    '4',
    '--rounds',
    '1',
    '--ways',
    'whole,top-k,exact',
  ];
  const { code, stdout } = await lra(['bench', ...small, '--backend', 'reference', '--out', out, '--json']);
  expect(code).toBe(0);
  const { results } = JSON.parse(stdout);
  expect(results.map(({ study }: { study: string }) => study)).toEqual(Object.keys(studies));
  const counts = results.map(({ rows }: { rows: readonly unknown[] }) => rows.length);
  // Sizes x ways x directions.
  expect(counts).toEqual([6, 6, 6, 1]);
  for (const { rows } of results)
    for (const row of rows)
      expect(row).toMatchObject({ milliseconds: expect.any(Number), peakBytes: expect.any(Number) });
  expect(readBench(out)).toEqual(results);
  expect(results[0].about).toContain('Changed: k 4');
});

test('a study without any of the ways is wrong use, and is left out beside others', async () => {
  const tiny = ['--x', '8', '--tokens', '8', '--k', '4', '--rounds', '1', '--backend', 'reference', '--json'];
  const none = await lra(['bench', '--study', 'feed-forward', '--ways', 'performer', ...tiny]);
  expect(none.code).toBe(2);
  expect(JSON.parse(none.stdout).error).toMatchObject({ code: 'USAGE' });
  const some = await lra(['bench', '--study', 'feed-forward,query-chunk', '--ways', 'top-k', ...tiny]);
  expect(some.code).toBe(0);
  expect(JSON.parse(some.stdout).results.map(({ study }: { study: string }) => study)).toEqual([
    'feed-forward',
  ]);
});
