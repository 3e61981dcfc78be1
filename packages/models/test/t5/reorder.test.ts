import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import { Interruption } from '../../src/interruption.js';
import { t5Decoder } from '../../src/t5/decoder.js';
import { t5Layers } from '../../src/t5/layers.js';
import { keepsNothing } from '../support/memory.js';
import { recordingBackend } from '../support/recording-backend.js';
import { tinyConfig, tinyParameters } from '../support/tiny.js';

const config = tinyConfig();
const sources = [
  [5, 3, 9, 2, 1],
  [7, 1],
  [8, 8, 4],
];
/** How the rows move before each step, and the tokens they are fed. */
const moves: readonly { readonly rows: readonly number[]; readonly tokens: readonly number[] }[] = [
  { rows: [0, 0, 1, 1, 2, 2], tokens: [0, 0, 0, 0, 0, 0] },
  { rows: [0, 1, 2, 3, 4, 5], tokens: [3, 4, 5, 6, 7, 8] },
  { rows: [1, 0, 3, 3, 4, 4], tokens: [2, 9, 4, 3, 2, 6] },
  { rows: [5, 4, 0], tokens: [9, 8, 7] },
  { rows: [0, 1, 2], tokens: [1, 2, 3] },
  { rows: [2, 1, 2], tokens: [4, 4, 4] },
];

describe.each([
  ['steps that are called', (): ReturnType<typeof createReferenceBackend> => createReferenceBackend()],
  ['recorded steps', () => recordingBackend(createReferenceBackend()).backend],
])('a decoder whose rows move: %s', (_, make) => {
  test('gives the logits of the tokens that each row has seen', async () => {
    const backend = make();
    const parameters = tinyParameters(backend, config);
    const layers = t5Layers(config, parameters, []);
    const decoder = t5Decoder({ training: false }, layers);
    const events = { interruption: new Interruption('test', undefined), onProgress: undefined };
    await keepsNothing(backend, async () => {
      const state = await decoder.start(sources, events);
      let seen = sources.map((source) => ({ source, tokens: [] as number[] }));
      for (const { rows, tokens } of moves) {
        state.reorder(rows);
        state.reserve();
        seen = rows.map((row, at) => {
          const { source, tokens: before } = seen[row] as (typeof seen)[number];
          return { source, tokens: [...before, tokens[at] as number] };
        });
        const logits = decoder.step(state, tokens);
        const got = await logits.data();
        logits.dispose();
        for (const [row, { source, tokens: fed }] of seen.entries()) {
          const alone = await decoder.start([source], events);
          let last: ArrayLike<number> = [];
          for (const token of fed) {
            alone.reserve();
            const one = decoder.step(alone, [token]);
            last = await one.data();
            one.dispose();
          }
          alone.dispose();
          for (let id = 0; id < config.vocabSize; id++)
            expect(got[row * config.vocabSize + id]).toBeCloseTo(last[id] as number, 4);
        }
      }
      state.dispose();
    });
    for (const one of Object.values(parameters)) one.dispose();
  });
});
