import { readFileSync } from 'node:fs';
import type { Tensor } from '@topk-attention/core';
import { openFile, openSafetensors } from '@topk-attention/nn';
import { expect } from 'vitest';
import { goldensFolder } from './folders.ts';

/** Choices of a model, as far as goldens exist for them. */
export interface TopKChoices {
  readonly attention?: { readonly k: number };
  readonly feedForward?: { readonly k: number; readonly select?: 'preactivation' | 'contribution' };
}

/**
 * The parts of a model that are compared. Not the class itself: this package serves the tests of that class's
 * package.
 */
interface Model {
  readonly config: { readonly dModel: number };
  encode(sources: readonly (readonly number[])[], options: ForwardOptions): Tensor;
  logits(
    sources: readonly (readonly number[])[],
    targets: readonly (readonly number[])[],
    options: ForwardOptions,
  ): Tensor;
}

type ForwardOptions = TopKChoices & { readonly sourceLengths: readonly number[] };

/** What `tooling/goldens/t5.py` wrote. */
export interface Manifest {
  readonly models: readonly {
    readonly model: string;
    readonly goldens: string;
    readonly topK?: TopKChoices;
    readonly cases: readonly ('one' | 'batch' | 'topK' | 'long' | 'generate')[];
  }[];
  readonly maxNewTokens: number;
  readonly broken: readonly {
    readonly folder: string;
    readonly fault: string;
    readonly invalidFormat: boolean;
  }[];
}

export function readManifest(): Manifest {
  return JSON.parse(readFileSync(`${goldensFolder}/manifest.json`, 'utf8'));
}

/** Arrays of a golden file as plain numbers. */
export class Goldens {
  readonly #arrays: ReadonlyMap<
    string,
    { readonly shape: readonly number[]; readonly data: readonly number[] }
  >;

  private constructor(arrays: Goldens['arrays']) {
    this.#arrays = arrays;
  }

  get arrays(): ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: readonly number[] }> {
    return this.#arrays;
  }

  static async read(file: string): Promise<Goldens> {
    const reader = await openSafetensors(await openFile(`${goldensFolder}/${file}`));
    const arrays = new Map();
    for (const [name, { shape }] of reader.tensors) {
      arrays.set(name, { shape, data: Array.from(await reader.read(name), Number) });
    }
    await reader.close();
    return new Goldens(arrays);
  }

  vector(name: string): readonly number[] {
    const found = this.#arrays.get(name);
    if (found === undefined) throw new Error(`no golden ${name}`);
    return found.data;
  }

  /** Rows of a matrix. */
  rows(name: string): readonly (readonly number[])[] {
    const columns = this.#arrays.get(name)?.shape[1] ?? 0;
    const data = this.vector(name);
    return Array.from({ length: data.length / columns }, (_, row) =>
      data.slice(row * columns, (row + 1) * columns),
    );
  }

  /** Rows stored one after the other: row i is [starts[i], starts[i + 1]). */
  packed(name: string, starts: string): readonly (readonly number[])[] {
    const data = this.vector(name);
    const at = this.vector(starts);
    return at.slice(1).map((end, row) => data.slice(at[row], end));
  }

  /** Rows without their padding. */
  ragged(name: string, lengths: string): readonly (readonly number[])[] {
    const all = this.vector(lengths);
    return this.rows(name).map((row, index) => row.slice(0, all[index]));
  }
}

/** Largest difference between a tensor, which is disposed of, and expected values; only where `counts` says so. */
export async function largestDifference(
  got: Tensor,
  expected: readonly number[],
  counts: (index: number) => boolean = () => true,
): Promise<number> {
  const data = await got.data();
  got.dispose();
  expect(data.length).toBe(expected.length);
  let worst = 0;
  for (const [index, value] of expected.entries()) {
    if (!counts(index)) continue;
    const difference = Math.abs(Number(data[index]) - value);
    // A NaN must not slip through a comparison.
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

/** Largest difference of encoder outputs and logits for one forward case of the goldens. */
export async function forwardDifference(
  model: Model,
  goldens: Goldens,
  name: string,
  choices: TopKChoices = {},
): Promise<{ encoder: number; logits: number }> {
  const inputs = name === 'topK' ? 'batch' : name;
  const sources = goldens.rows(`${inputs}.inputIds`);
  const mask = goldens.rows(`${inputs}.attentionMask`);
  const sourceLengths = mask.map((row) => row.reduce((sum, one) => sum + one, 0));
  const options = { ...choices, sourceLengths };
  const width = model.config.dModel;
  const encoded = model.encode(sources, options);
  return {
    encoder: await largestDifference(encoded, goldens.vector(`${name}.encoderOutput`), (index) => {
      const token = Math.floor(index / width);
      const length = sources[0]?.length ?? 1;
      return mask[Math.floor(token / length)]?.[token % length] === 1;
    }),
    logits: await largestDifference(
      model.logits(sources, goldens.rows(`${inputs}.decoderInputIds`), options),
      goldens.vector(`${name}.logits`),
    ),
  };
}
