import { createReferenceBackend } from '@topk-attention/core/reference';
import { smallEncoder } from '@topk-attention/t5-goldens';
import { afterAll, expect, test } from 'vitest';
import { createCausalLM, createT5, loadEncoder } from '../../src/index.js';
import {
  createInspector,
  formatValueName,
  type InspectOptions,
  parseValueName,
} from '../../src/inspect/index.js';
import { errorOf } from '../support/errors.js';
import { tinyConfig, tinyParameters } from '../support/tiny.js';
import { tinyCausalConfig, tinyCausalParameters } from '../support/tiny-causal.js';

const backend = createReferenceBackend();
const llama = tinyCausalConfig('llama');
const causal = createCausalLM(llama, tinyCausalParameters(backend, llama));
const t5 = createT5(tinyConfig(), tinyParameters(backend, tinyConfig()));
afterAll(() => {
  causal.dispose();
  t5.dispose();
  expect(backend.memory().live).toBe(0);
});
const inspector = createInspector(causal);
const prompt = [5, 3, 9];
const setting = (layer: number, unit: number, coefficient = 0, positions?: number[]): InspectOptions => ({
  interventions: [{ layer, unit, coefficient, ...(positions && { positions }) }],
});

test('names of value vectors', () => {
  expect(parseValueName('L3D17')).toEqual({ layer: 3, unit: 17 });
  expect(parseValueName(' l0d5 ')).toEqual({ layer: 0, unit: 5 });
  expect(formatValueName(parseValueName('L12D3'))).toBe('L12D3');
});

test.each(['', 'L3', 'D17', 'L3D', 'L-1D2', 'L3D1.5', 'L3D17x', '3D17', 'L99999999999D1'])(
  '%j is no name',
  (text) => {
    expect(() => parseValueName(text)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  },
);

test.each<[string, InspectOptions, string]>([
  ['a layer to report', { layers: [2] }, 'a whole number from 0 to 1'],
  ['a layer', setting(2, 0), 'a whole number from 0 to 1'],
  ['a layer below 0', setting(-1, 0), 'a whole number from 0 to 1'],
  ['a unit', setting(0, 8), 'a whole number from 0 to 7'],
  ['half a unit', setting(0, 0.5), 'a whole number from 0 to 7'],
  ['a coefficient', setting(0, 1, Number.NaN), 'a finite number of f32'],
  ['a coefficient beyond f32', setting(0, 1, -1e39), 'a finite number of f32'],
  ['a position', { position: 3 }, 'a whole number from -3 to 2'],
  ['a position of an intervention', setting(0, 1, 1, [-4]), 'a whole number from -3 to 2'],
  ['no tokens', { topTokens: 0 }, 'a positive whole number'],
  ['no units', { topUnits: 0 }, 'a positive whole number'],
  ['a target without an encoder', { target: [4] }, 'no target'],
])('%s out of range is refused', async (_, options, expected) => {
  const error = await errorOf(inspector.inspect(prompt, options));
  expect(error).toMatchObject({ code: 'INVALID_OPTION', expected });
  expect(error.message).toContain('inspect');
});

test('an empty prompt is refused', async () => {
  expect((await errorOf(inspector.inspect([]))).code).toBe('EMPTY_SEQUENCE');
  expect((await errorOf(inspector.inspect(' \n'))).code).toBe('EMPTY_SEQUENCE');
});

test('a text for a model without a tokenizer is refused, and so is its index', async () => {
  expect((await errorOf(inspector.inspect('where?'))).message).toContain('no tokenizer');
  expect((await errorOf(inspector.index())).message).toContain('no tokenizer');
});

test('value vectors that are not there are refused', async () => {
  expect(await errorOf(inspector.valueVector({ layer: 2, unit: 0 }))).toMatchObject({
    code: 'INVALID_OPTION',
  });
  expect(await errorOf(inspector.valueVector({ layer: 1, unit: 8 }))).toMatchObject({
    code: 'INVALID_OPTION',
  });
});

test('hooks take no positions', () => {
  const interventions = setting(0, 1, 1, [0]).interventions ?? [];
  expect(() => inspector.hooks(interventions)).toThrow(/positions are those of one pass/);
});

test('stacks and models that cannot be inspected are refused', async () => {
  expect(() => createInspector(causal, { stack: 'encoder' })).toThrow(/the model has no encoder/);
  const encoder = await loadEncoder({ backend, source: smallEncoder });
  expect(() => createInspector(encoder)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
  encoder.dispose();
});

test('a target is for the decoder', async () => {
  const own = createInspector(t5, { stack: 'encoder' });
  expect((await errorOf(own.inspect(prompt, { target: [4] }))).code).toBe('INVALID_OPTION');
});

test('a failure in the middle of a pass frees all', async () => {
  const { live } = backend.memory();
  await errorOf(inspector.inspect([5, 99]));
  expect(backend.memory().live).toBe(live);
});
