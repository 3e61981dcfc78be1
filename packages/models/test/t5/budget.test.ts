import { createReferenceBackend } from '@topk-attention/core/reference';
import { afterAll, expect, test } from 'vitest';
import { createT5, t5Encode, t5Forward } from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { keepsNothing } from '../support/memory.js';
import { tinyConfig, tinyInputs, tinyParameters } from '../support/tiny.js';

// Composed, because that is what goes in chunks.
const backend = createReferenceBackend({ fused: false });
const config = tinyConfig();
const model = createT5(config, tinyParameters(backend, config));
const { sources, sourceLengths, targets } = tinyInputs;
const prompt = Array.from({ length: 40 }, (_, at) => 2 + (at % 8));

afterAll(() => {
  model.dispose();
  expect(backend.memory().live).toBe(0);
});

test('explain plans within the budget, and generate gives the same answer in smaller chunks', async () => {
  const planned = (budgetBytes?: number) =>
    model.explain({ sourceLength: prompt.length, ...(budgetBytes !== undefined && { budgetBytes }) });
  const totals = planned().map(({ explanation }) => explanation.plan.bytes.total);
  const budgetBytes = Math.max(...totals) / 2;
  for (const { name, explanation } of planned(budgetBytes)) {
    expect(explanation.plan.bytes.total, name).toBeLessThanOrEqual(budgetBytes);
  }
  const free = await model.generate(prompt, { maxNewTokens: 4 });
  expect((await model.generate(prompt, { maxNewTokens: 4, budgetBytes })).ids).toEqual(free.ids);
});

test('what does not fit is refused, and leaves nothing', async () => {
  const refused = expect.objectContaining({ code: 'DOES_NOT_FIT' });
  const budgetBytes = 16;
  expect(() => model.explain({ sourceLength: 40, budgetBytes })).toThrow(refused);
  await keepsNothing(backend, async () => {
    for (const generating of [
      model.generate(prompt, { budgetBytes }),
      model.generateBatch(sources, { budgetBytes }),
      model.stream(prompt, { budgetBytes }).next(),
    ]) {
      expect((await errorOf(generating)).code).toBe('DOES_NOT_FIT');
    }
    const options = { sourceLengths, budgetBytes };
    expect(() => model.encode(sources, options)).toThrow(refused);
    expect(() => model.logits(sources, targets, options)).toThrow(refused);
    const { parameters } = model;
    expect(() => t5Forward(config, parameters, tinyInputs, { budgetBytes })).toThrow(refused);
    expect(() => t5Encode(config, parameters, { sources }, { budgetBytes })).toThrow(refused);
  });
});

test.each([0, -1, Number.NaN])('%d bytes are no budget', async (budgetBytes) => {
  const invalid = (where: string) =>
    expect.objectContaining({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(`^${where}: bad budgetBytes`),
    });
  await expect(model.generate(prompt, { budgetBytes })).rejects.toEqual(invalid('generate'));
  expect(() => model.explain({ sourceLength: 40, budgetBytes })).toThrow(invalid('explain'));
  expect(() => model.encode(sources, { budgetBytes })).toThrow(invalid('encode'));
  expect(() => model.logits(sources, targets, { budgetBytes })).toThrow(invalid('logits'));
  expect(() => t5Forward(config, model.parameters, tinyInputs, { budgetBytes })).toThrow(
    invalid('t5Forward'),
  );
});
