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

/** The probabilities that transformers' sampling draws from. */
export interface DrawCase {
  readonly options: Readonly<Record<string, unknown>>;
  readonly logits: readonly number[];
  readonly probabilities: readonly number[];
}

/** What `tooling/goldens/generation.py` wrote. */
interface File {
  readonly cases: readonly GenerationCase[];
  readonly draws: readonly DrawCase[];
}

export function readGenerationCases(): readonly GenerationCase[] {
  return readFile().cases.map(withOurNames);
}

export function readDrawCases(): readonly DrawCase[] {
  return readFile().draws.map(withOurNames);
}

function readFile(): File {
  return JSON.parse(readFileSync(`${goldensFolder}/generation.json`, 'utf8'));
}

function withOurNames<Case extends Pick<GenerationCase, 'options'>>(one: Case): Case {
  return { ...one, options: camelCased(one.options) };
}

/** 'num_beams' -> numBeams */
function camelCased(options: GenerationCase['options']): GenerationCase['options'] {
  const entries = Object.entries(options).map(([key, value]) => [
    key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
    value,
  ]);
  return Object.fromEntries(entries);
}
