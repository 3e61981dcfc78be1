import { TopKError } from '@topk-attention/core';
import { afterEach, expect, test } from 'vitest';
import { loadTf } from '../../../src/node/backends/load-tf.js';

const { TOPK_TFJS_NODE } = process.env;
afterEach(() => {
  if (TOPK_TFJS_NODE === undefined) delete process.env.TOPK_TFJS_NODE;
  else process.env.TOPK_TFJS_NODE = TOPK_TFJS_NODE;
});

test('tfjs with the engine that was asked for, by the name that tf gives it', async () => {
  const { tf, name, facts } = await loadTf('cpu', 1);
  expect({ name, facts }).toEqual({ name: 'cpu', facts: 'cpu (plain JavaScript), 1 thread' });
  expect(tf.engine().registryFactory).toHaveProperty('cpu');
});

test('an engine that is not there is an error with what to install', async () => {
  process.env.TOPK_TFJS_NODE = '/nowhere';
  const failed = await loadTf('node', 1).catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(TopKError);
  expect(failed).toMatchObject({
    code: 'MISSING_PEER',
    fix: expect.stringMatching(/npm install @tensorflow\/tfjs-node/),
  });
});
