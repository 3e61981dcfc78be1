import { TopKError } from '@topk-attention/core';
import { decodeModel } from '../../onnx/read-model.js';
import { symbolsOf } from '../extents/symbols.js';
import type { Named } from './flags.js';
import { givenInputs, type InputValues, madeUpInputs } from './inputs.js';

export async function read(path: string): Promise<Uint8Array> {
  const { readFile } = await import('node:fs/promises');
  try {
    return await readFile(path);
  } catch (cause) {
    throw new TopKError('FILE_NOT_FOUND', `cannot open ${path}`, {
      got: cause instanceof Error ? cause.message : String(cause),
      fix: 'Check the path',
      cause,
    });
  }
}

/** Inputs to run a model with. */
export interface Trial {
  readonly label: string;
  readonly inputs: readonly InputValues[];
}

/** One set of inputs for every length, or those of a file. */
export async function trialsOf(
  path: string,
  lengths: readonly number[],
  at: Named,
  inputs?: string,
): Promise<readonly Trial[]> {
  const model = decodeModel(await read(path), path);
  if (inputs !== undefined) {
    const given: unknown = JSON.parse(new TextDecoder().decode(await read(inputs)));
    return [given].flat().map((one, index) => ({ label: `input ${index}`, inputs: givenInputs(model, one) }));
  }
  const open = symbolsOf(model).filter((name) => !Object.hasOwn(at, name));
  const isOpen = open.some((name) => !/batch/i.test(name));
  return (isOpen ? lengths : lengths.slice(0, 1)).map((length) => {
    const extents = new Map(open.map((name) => [name, /batch/i.test(name) ? 1 : length]));
    for (const [name, extent] of Object.entries(at)) extents.set(name, extent);
    const label = [...extents].map(([name, extent]) => `${name} ${extent}`).join(', ') || 'fixed extents';
    return { label, inputs: madeUpInputs(model, extents) };
  });
}
