import { readFileSync } from 'node:fs';
import { type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { Mechanism, MechanismCall, MechanismOptions, ParameterTree } from '@topk-attention/nn';
import { expect } from 'vitest';

interface Stored {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

/** Written by tooling/goldens/mechanisms.py. */
const goldens: {
  readonly [role in 'query' | 'key' | 'value' | 'input']: Stored;
} & {
  readonly parameters: { readonly [name: string]: Stored };
  readonly outputs: { readonly [name: string]: Stored };
} = JSON.parse(readFileSync(new URL('../goldens/mechanisms.json', import.meta.url), 'utf8'));

export const backend = createReferenceBackend({ floatStorage: 'f64' });

/** @param batch whether an axis of one example is put in front */
export function goldenInput(role: 'query' | 'key' | 'value' | 'input', batch = true): Tensor {
  const { shape, data } = goldens[role];
  return tensor(backend, Float64Array.from(data), batch ? [1, ...shape] : shape);
}

export function goldenParameter(name: string): Tensor {
  const { shape, data } = goldens.parameters[name] as Stored;
  return tensor(backend, Float64Array.from(data), shape);
}

export function goldenOutput(name: string): readonly number[] {
  return (goldens.outputs[name] as Stored).data;
}

/** A call of a mechanism on the goldens' queries, keys and values. */
export function goldenCall(parameters: ParameterTree = {}, options: MechanismOptions = {}): MechanismCall {
  return {
    context: { training: false, path: '', parameters },
    path: '',
    query: goldenInput('query'),
    key: goldenInput('key'),
    value: goldenInput('value'),
    input: goldenInput('input'),
    options,
  };
}

export async function expectNumbers(made: Tensor, expected: readonly number[], digits = 11): Promise<void> {
  const numbers = await made.data();
  expect(numbers.length).toBe(expected.length);
  for (const [at, number] of expected.entries())
    expect(numbers[at], `element ${at}`).toBeCloseTo(number, digits);
}

export async function expectGolden(
  name: string,
  mechanism: Mechanism,
  parameters: ParameterTree = {},
  options: MechanismOptions = {},
): Promise<void> {
  await expectNumbers(mechanism.attend(goldenCall(parameters, options)), goldenOutput(name));
}
