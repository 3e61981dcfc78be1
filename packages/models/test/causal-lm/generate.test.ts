import { type Backend, exactAttention, type Tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { Trace } from '@topk-attention/nn';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { expect, test } from 'vitest';
import { type CausalLM, type CausalLMGenerateOptions, createCausalLM } from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { keepsNothing } from '../support/memory.js';
import { recordingBackend } from '../support/recording-backend.js';
import { type TinyFamily, tinyCausalConfig, tinyCausalParameters } from '../support/tiny-causal.js';

const families: readonly TinyFamily[] = ['gpt2', 'llama', 'qwen3'];
const prompts = [[5, 3, 9, 2, 4], [7], [8, 8, 6]];
const topK = { attention: { k: 3 }, feedForward: { k: 4 } } as const;

/** A model that no token ends, with room for long texts. */
function endless(family: TinyFamily, backend: Backend = createReferenceBackend()): CausalLM {
  const config = tinyCausalConfig(family, { n_positions: 256, eos_token_id: family === 'gpt2' ? 10 : null });
  return createCausalLM({ ...config, eosIds: [] }, tinyCausalParameters(backend, config, 4));
}

for (const family of families) {
  const check = (name: string, body: () => Promise<void>): void => {
    if (family === 'qwen3') test(`${family}: ${name}`, body);
    else optional(`${family}: ${name}`, thoroughAvailability(), body);
  };

  check('caches grow, with the logits of a forward pass without one, exact and top-k', async () => {
    const model = endless(family);
    for (const choices of [{}, topK]) {
      const results = await keepsNothing(model.backend, () =>
        model.generateBatch(prompts, { ...choices, maxNewTokens: 40 }),
      );
      for (const [row, { ids, logits }] of results.entries()) {
        const prompt = prompts[row] as number[];
        const forced = model.logits([[...prompt, ...ids.slice(0, -1)]], choices);
        const values = await forced.data();
        forced.dispose();
        const { vocabSize } = model.config;
        for (const [step, id] of ids.entries()) {
          const at = (prompt.length - 1 + step) * vocabSize;
          const own = values.subarray(at, at + vocabSize);
          expect(own.indexOf(Math.max(...own)), `row ${row}, step ${step}`).toBe(id);
          expect(own[id]).toBeCloseTo(logits[step] ?? Number.NaN, 4);
        }
      }
    }
    model.dispose();
    expect(model.backend.memory().live).toBe(0);
  });

  check('recorded steps give the tokens of steps that are called', async () => {
    const called = endless(family);
    const { backend, counts } = recordingBackend(createReferenceBackend());
    const recorded = endless(family, backend);
    // More tokens than the caches first hold, so that they grow.
    const call = { ...topK, maxNewTokens: 140 };
    const expected = await called.generateBatch(prompts, call);
    const got = await keepsNothing(backend, () => recorded.generateBatch(prompts, call));
    expect(got.map(({ ids }) => ids)).toEqual(expected.map(({ ids }) => ids));
    // All but two for each of the two capacities.
    expect(counts.replays).toBe(140 - 4);
    recorded.dispose();
    expect(backend.memory().live).toBe(0);
  });

  check('beams of a batch are those of each prompt alone, recorded or not', async () => {
    const { backend } = recordingBackend(createReferenceBackend());
    for (const model of [endless(family), endless(family, backend)]) {
      const call = { numBeams: 3, numReturnSequences: 2, maxNewTokens: 6 };
      const batch = await keepsNothing(model.backend, () => model.generateBatch(prompts, call));
      expect(batch).toHaveLength(6);
      for (const [row, prompt] of prompts.entries()) {
        const alone = await model.generateBatch([prompt], call);
        expect(batch.slice(2 * row, 2 * row + 2).map(({ ids }) => ids)).toEqual(alone.map(({ ids }) => ids));
      }
    }
  });
}

test('stream yields the tokens of generate; leaving it early frees everything', async () => {
  const model = endless('llama');
  const { ids } = await model.generate([5, 3], { maxNewTokens: 5 });
  const seen: number[] = [];
  await keepsNothing(model.backend, async () => {
    for await (const { id } of model.stream([5, 3], { maxNewTokens: 5 })) seen.push(id);
    for await (const _ of model.stream([5, 3])) break;
  });
  expect(seen).toEqual(ids);
});

test('progress tells the layers that read the prompt and the tokens; a signal stops in either', async () => {
  const model = endless('gpt2');
  const seen: string[] = [];
  const onProgress = ({ stage, done, total }: { stage: string; done: number; total: number }): void => {
    seen.push(`${stage} ${done}/${total}`);
  };
  await model.generate([9, 8, 1], { maxNewTokens: 2, onProgress });
  expect(seen).toEqual(['encode 1/2', 'encode 2/2', 'generate 1/2', 'generate 2/2']);
  for (const stage of ['encode', 'generate']) {
    const controller = new AbortController();
    const generating = model.generate([9, 8, 1], {
      signal: controller.signal,
      onProgress: (progress) => {
        if (progress.stage === stage) controller.abort();
      },
    });
    const error = await keepsNothing(model.backend, () => errorOf(generating));
    expect(error.code).toBe('ABORTED');
  }
});

test('learned positions end a text; what comes after the end of a shorter row does not matter', async () => {
  const config = { ...tinyCausalConfig('gpt2'), eosIds: [] };
  const model = createCausalLM(config, tinyCausalParameters(createReferenceBackend(), config, 4));
  const code = async (call: Promise<unknown>) => (await errorOf(call)).code;
  expect(await code(model.generate(Array(16).fill(2), { maxNewTokens: 2 }))).toBe('INVALID_OPTION');
  expect(await code(model.generateBatch([[2], Array(10).fill(2)], { maxNewTokens: 8 }))).toBe(
    'INVALID_OPTION',
  );
  // The last token is not fed.
  expect((await model.generate(Array(10).fill(2), { maxNewTokens: 7 })).ids).toHaveLength(7);
  // The longer row ends first and goes on being fed, beyond the last position.
  const results = await model.generateBatch([[2], Array(10).fill(2)], { maxLength: 16 });
  expect(results.map(({ ids }) => ids.length)).toEqual([15, 6]);
  expect(results[0]?.ids).toEqual((await model.generate([2], { maxLength: 16 })).ids);
  model.dispose();
  expect((await errorOf(model.generate([2]))).code).toBe('DISPOSED');
});

test('hooks see the layers of the prompt and of every token, and may replace what they see', async () => {
  const model = endless('llama');
  const paths: string[] = [];
  const note = (path: string, shape: readonly number[]): void => {
    paths.push(`${path} ${shape.join('x')}`);
  };
  const trace: Trace = {
    onAttention: (path, { indices, scores, weights }) => {
      note(path, indices.shape);
      for (const one of [indices, scores, weights]) one.dispose();
    },
    onFeedForward: (path, { indices, activations }) => {
      note(path, activations.shape);
      indices.dispose();
      activations.dispose();
    },
    onResidual: (path, x: Tensor) => {
      note(path, x.shape);
      x.dispose();
    },
  };
  const plain = await model.generate([5, 3, 9], { ...topK, attention: { k: 2 }, maxNewTokens: 1 });
  const traced = await keepsNothing(model.backend, () =>
    model.generate([5, 3, 9], { ...topK, attention: { k: 2 }, maxNewTokens: 1, trace }),
  );
  expect(traced).toEqual(plain);
  const layers = (length: number, kept: number) =>
    [0, 1].flatMap((layer) => [
      `decoder.${layer}.attention 1x2x${length}x${kept}`,
      `decoder.${layer}.feedForward 1x${length}x4`,
      `decoder.${layer} 1x${length}x6`,
    ]);
  expect(paths).toEqual([...layers(2, 2), ...layers(1, 2)]);

  const off: Trace = { overrideActivations: () => ({ units: [1, 2, 3], activations: 0 }) };
  const before = await (await model.logits([[5, 3, 9]])).data();
  expect(await (await model.logits([[5, 3, 9]], { trace: off })).data()).not.toEqual(before);
  model.dispose();
});

test('attention may be a function, layer by layer; explain leaves it out', async () => {
  const { backend, counts } = recordingBackend(createReferenceBackend());
  const model = endless('qwen3', backend);
  let calls = 0;
  const attention: CausalLMGenerateOptions['attention'] = (q, k, v, options) => {
    calls++;
    return exactAttention(q, k, v, options);
  };
  const layers = { 'decoder.0': { attention } } as const;
  const expected = await model.generate([5, 3, 9], { maxNewTokens: 3 });
  const before = counts.replays;
  expect((await model.generate([5, 3, 9], { maxNewTokens: 3, layers })).ids).toEqual(expected.ids);
  expect(counts.replays).toBe(before);
  expect(calls).toBe(3);
  const names = (given: object) => model.explain({ length: 9, ...given }).map(({ name }) => name);
  expect(names({})).toEqual(['decoder.0 attention', 'decoder.0 feedForward']);
  expect(names({ layers })).toEqual(['decoder.0 feedForward']);
});

test('a budget holds for the plan and for the call', async () => {
  const model = endless('llama', createReferenceBackend({ fused: false }));
  const prompt = Array.from({ length: 40 }, (_, at) => 2 + (at % 8));
  const totals = model.explain({ length: 40 }).map(({ explanation }) => explanation.plan.bytes.total);
  const budgetBytes = Math.max(...totals) / 2;
  for (const { name, explanation } of model.explain({ length: 40, budgetBytes })) {
    expect(explanation.plan.bytes.total, name).toBeLessThanOrEqual(budgetBytes);
  }
  const free = await model.generate(prompt, { maxNewTokens: 4 });
  expect((await model.generate(prompt, { maxNewTokens: 4, budgetBytes })).ids).toEqual(free.ids);
  const refused = model.generate(prompt, { budgetBytes: 16 });
  const error = await keepsNothing(model.backend, () => errorOf(refused));
  expect(error.code).toBe('DOES_NOT_FIT');
});
