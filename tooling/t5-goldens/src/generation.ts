import { readFileSync } from 'node:fs';
import { goldensFolder } from './folders.ts';

/** What transformers' generate() made of some prompts with one set of options. */
export interface GenerationCase {
  readonly name: string;
  /** Folder of the model. */
  readonly model: string;
  /** transformers' options, in this project's names. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly prompts: readonly (readonly number[])[];
  /** New ids of each sequence of each prompt. */
  readonly ids: readonly (readonly (readonly number[])[])[];
  /** Of beams: the score of each sequence. */
  readonly scores?: readonly (readonly number[])[];
}

/** What `tooling/goldens/generation.py` wrote. */
export function readGenerationCases(): readonly GenerationCase[] {
  const { cases }: { readonly cases: readonly GenerationCase[] } = JSON.parse(
    readFileSync(`${goldensFolder}/generation.json`, 'utf8'),
  );
  return cases.map((one) => ({ ...one, options: camelCased(one.options) }));
}

/** 'num_beams' -> numBeams */
function camelCased(options: GenerationCase['options']): GenerationCase['options'] {
  const entries = Object.entries(options).map(([key, value]) => [
    key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
    value,
  ]);
  return Object.fromEntries(entries);
}
