import { seeHelp } from './parse.js';
import { UsageError } from './usage-error.js';

/** Kept keys or hidden units per query; 'exact' keeps them all. */
export type Kept = number | 'exact';

const backends = ['auto', 'webgpu', 'onnxruntime', 'tfjs', 'reference'] as const;
export type BackendChoice = (typeof backends)[number];

/** Engines of TensorFlow.js that run in Node; `node` is TensorFlow itself, through tfjs-node. The first is the default. */
export const tfjsEngines = ['wasm', 'cpu', 'node', 'webgpu'] as const;
export type TfjsEngine = (typeof tfjsEngines)[number];

/** A whole number of at least `least`. */
export function wholeNumber(option: string, text: string, least = 1): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
  throw bad(option, `a whole number of at least ${least}`, text);
}

/** A whole number of at least 1, or 'exact'. */
export function kept(option: string, text: string): Kept {
  if (text === 'exact') return 'exact';
  if (/^\d+$/.test(text) && Number(text) > 0) return wholeNumber(option, text);
  throw bad(option, 'a whole number of at least 1, or exact', text);
}

/** `8,16,exact`, in the order given, without repetitions. */
export function keptList(option: string, text: string): Kept[] {
  return [...new Set(text.split(',').map((each) => kept(option, each.trim())))];
}

export function backendChoice(option: string, text: string): BackendChoice {
  const found = backends.find((each) => each === text);
  if (found !== undefined) return found;
  throw bad(option, backends.join(', '), text);
}

/** One of a list of words. */
export function oneOf<T extends string>(option: string, words: readonly T[], text: string): T {
  const found = words.find((each) => each === text);
  if (found !== undefined) return found;
  throw bad(option, words.join(', '), text);
}

const units: { readonly [unit: string]: number } = {
  '': 1,
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
};

/** `67108864`, `64MiB`, `1.5GB`. */
export function byteCount(option: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-zA-Z]*)$/.exec(text);
  const factor = units[match?.[2] ?? '?'];
  const bytes = Math.floor(Number(match?.[1]) * (factor ?? Number.NaN));
  if (bytes > 0) return bytes;
  throw bad(option, 'bytes, such as 67108864, 64MiB or 1.5GB', text);
}

function bad(option: string, expected: string, got: string): UsageError {
  return new UsageError(`--${option}: expected ${expected}, got '${got}'`, seeHelp());
}
