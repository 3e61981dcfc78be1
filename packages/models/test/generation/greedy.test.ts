import { type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import type { Decoder, DecoderState } from '../../src/generation/decoder.js';
import { noDefaults } from '../../src/generation/generation-config.js';
import { greedy } from '../../src/generation/greedy.js';
import { strategyOf } from '../../src/generation/strategy.js';
import { Interruption } from '../../src/interruption.js';

const END = 9;

/**
 * Tokens of a decoder that begins each step ahead, where step `failAt` (from 1) fails, and what the decoding threw. Leaves
 * nothing on the backend.
 */
async function decoded(tokens: readonly number[], failAt: number, what: 'step' | 'room' = 'step') {
  const backend = createReferenceBackend();
  let step = 1;
  const next = (): Tensor => {
    if (what === 'step' && step === failAt) throw new Error(`step ${failAt}`);
    return tensor(backend, [tokens[step++ - 1] as number, 1], [1, 2]);
  };
  const state: DecoderState = {
    prefixes: [[0]],
    tensors: [],
    reserve: () => {
      if (what === 'room' && step === failAt) throw new Error(`room for step ${failAt}`);
      return false;
    },
    reorder: () => {},
    dispose: () => {},
  };
  const decoder: Decoder<DecoderState> = {
    start: () => Promise.resolve(state),
    step: next,
    best: next,
  };
  const context = { where: 'test', isBatch: false, isStreamed: false, hasTokenizer: false, vocabSize: 10 };
  const strategy = strategyOf({ maxNewTokens: tokens.length }, noDefaults, { ...context, eosIds: [END] });
  const rules = { where: 'test', strategy, tokenizer: undefined, padId: 0 };
  const events = { interruption: new Interruption('test', undefined), onProgress: undefined };
  const ids: number[] = [];
  let thrown: unknown;
  try {
    for await (const fresh of greedy(decoder, [[1]], rules, events)) ids.push(...fresh.map(({ id }) => id));
  } catch (error) {
    thrown = error;
  }
  expect(backend.memory().live).toBe(0);
  return { ids, thrown };
}

describe('a step that was begun ahead and failed', () => {
  test.each(['step', 'room'] as const)('does not matter behind the last token: %s', async (what) => {
    expect(await decoded([4, END, 7, 7], 3, what)).toEqual({ ids: [4, END], thrown: undefined });
  });

  test.each(['step', 'room'] as const)('is an error after the token before it: %s', async (what) => {
    const { ids, thrown } = await decoded([4, 5, 7, END], 3, what);
    expect(ids).toEqual([4, 5]);
    expect(String(thrown)).toContain('step 3');
  });
});

test('no step is begun behind the most tokens asked for', async () => {
  expect(await decoded([4, 5, 7], 4)).toEqual({ ids: [4, 5, 7], thrown: undefined });
});
