import { join } from 'node:path';
import { TopKError } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { LastingEngine } from '../../src/lasting-engine.js';
import { lra, temporaryFolder } from '../support/command-line.js';
import { failingHost } from '../support/failing-host.js';

const folder = temporaryFolder();

interface Row {
  readonly way: string;
  readonly milliseconds?: number;
  readonly refused?: string;
}

/** Ways that have a time, and those that have a reason. */
function sorted(rows: readonly Row[]): { readonly timed: string[]; readonly refused: string[] } {
  const timed = rows.filter(({ milliseconds }) => (milliseconds ?? 0) > 0);
  return {
    timed: timed.map(({ way }) => way),
    refused: rows.flatMap(({ way, refused }) => (refused === undefined ? [] : [`${way}: ${refused}`])),
  };
}

test.each(['OUT_OF_MEMORY', 'DEVICE_LOST'] as const)(
  'compare goes on after %s on a new engine',
  async (code) => {
    const host = failingHost(code);
    const args = ['compare', '--mechanisms', 'exact,simpletron,top-k', '--task', 'image', '--measure-only'];
    const rest = ['--k', '8', '--lengths', '16,32', '--rounds', '1', '--out', join(folder, code), '--json'];
    const { stdout } = await lra([...args, ...rest], undefined, host);
    const { timed, refused } = sorted(JSON.parse(stdout).comparison.rows);
    expect(refused).toEqual([`exact: ${code}: fake: evaluate on an engine that has failed`]);
    expect(timed).toEqual(['simpletron', 'top-k 8', 'simpletron', 'top-k 8']);
    expect(host.opened()).toBe(2);
  },
);

test('compare trains the next mechanism on a new engine', async () => {
  const host = failingHost();
  const args = ['compare', '--mechanisms', 'exact,simpletron', '--task', 'listops', '--steps', '5'];
  const rest = ['--lengths', '16', '--rounds', '1', '--out', join(folder, 'trained'), '--json'];
  const { stdout } = await lra([...args, ...rest], undefined, host);
  const { sections, comparison } = JSON.parse(stdout);
  expect(sections[0].groups.map(({ title }: { title: string }) => title)).toEqual(['simpletron']);
  expect(comparison.refused).toEqual([
    { way: 'exact', reason: expect.stringContaining('It was not trained: OUT_OF_MEMORY') },
  ]);
  expect(sorted(comparison.rows).timed).toEqual(['exact', 'simpletron']);
  // One that fails and another to train on, and one to measure on.
  expect(host.opened()).toBe(3);
});

test('bench goes on after memory has run out on a new engine', async () => {
  const host = failingHost();
  const args = ['bench', '--study', 'attention', '--x', '8', '--ways', 'exact,top-k', '--k', '4'];
  const { stdout } = await lra([...args, '--rounds', '1', '--json'], undefined, host);
  const { timed, refused } = sorted(JSON.parse(stdout).results[0].rows);
  expect(refused).toEqual([expect.stringContaining('exact: OUT_OF_MEMORY')]);
  expect(timed).toEqual(['exact', 'top-k', 'top-k']);
  expect(host.opened()).toBe(2);
});

const info = { backend: 'reference', description: 'fake' } as const;
const memoryError = new TopKError('OUT_OF_MEMORY', 'fake');

test('an engine lasts through errors that do not end it, and a failed one is not opened again until it is needed', async () => {
  let opened = 0;
  const first = { backend: createReferenceBackend(), info };
  const engine = new LastingEngine(first, async () => {
    opened++;
    return { backend: createReferenceBackend(), info };
  });
  for (const error of [new TopKError('NAN_FOUND', 'fake'), new TypeError('fake')]) await engine.failed(error);
  expect(await engine.current()).toBe(first);
  await engine.failed(memoryError);
  expect(opened).toBe(0);
  const second = await engine.current();
  expect(second).not.toBe(first);
  expect(await engine.current()).toBe(second);
  expect(opened).toBe(1);
  await engine.dispose();
  await expect(second.backend.evaluate([])).rejects.toMatchObject({ code: 'DISPOSED' });
});

test('another engine than before is an error: numbers of two engines are not mixed', async () => {
  const other = { backend: createReferenceBackend(), info: { ...info, description: 'another' } };
  const engine = new LastingEngine({ backend: createReferenceBackend(), info }, async () => other);
  await engine.failed(memoryError);
  await expect(engine.current()).rejects.toMatchObject({
    code: 'NO_DEVICE',
    expected: 'fake',
    got: 'another',
  });
  await engine.dispose();
  await expect(other.backend.evaluate([])).rejects.toMatchObject({ code: 'DISPOSED' });
});
