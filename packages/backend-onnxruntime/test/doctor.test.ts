import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import * as ort from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { doctor } from '../src/index.js';
import { bundle } from './support/bundle.js';

const child = await bundle('engine-child.mjs');

test('doctor names the module, its version, and what runs', async () => {
  const { ok, peers } = await doctor({ ort });
  expect(ok).toBe(true);
  const [peer] = peers;
  expect(peer?.version).toMatch(/^\d+\.\d+\.\d+/);
  expect(peer?.providers.find(({ name }) => name === 'cpu')).toEqual({ name: 'cpu', usable: true });
  for (const { usable, reason } of peer?.providers ?? []) expect(usable || reason !== undefined).toBe(true);
});

test('providers whose libraries are not there are not tried: the engine would print errors', async () => {
  const { stderr } = await promisify(execFile)(process.execPath, [child, JSON.stringify(['doctor', {}])]);
  expect(stderr).not.toContain('onnxruntime_providers');
});
