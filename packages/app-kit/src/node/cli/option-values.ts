import { InvalidArgumentError } from '@commander-js/extra-typings';

/** A whole number of at least 1. @throws InvalidArgumentError, which the command line reports with the option's name. */
export function wholeNumber(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= 1) return value;
  throw new InvalidArgumentError('Expected a whole number of at least 1.');
}

/** A whole number of at least 0. @throws InvalidArgumentError. */
export function seedNumber(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('Expected a whole number of at least 0.');
}

/** More than any model in use has. */
const MOST_LAYERS = 1024;

/**
 * Layers of a model: at most 1,024. A step is built in one go, layer by layer, and until then no signal is heard: of very
 * many layers it could only be killed. @throws InvalidArgumentError.
 */
export function layerCount(text: string): number {
  const value = wholeNumber(text);
  if (value <= MOST_LAYERS) return value;
  throw new InvalidArgumentError(`Expected at most ${MOST_LAYERS} layers.`);
}

/** A number above 0. @throws InvalidArgumentError. */
export function positiveNumber(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('Expected a number above 0.');
}

/** Text that is not blank, trimmed at both ends. @throws InvalidArgumentError. */
export function nonBlank(text: string): string {
  if (text.trim() !== '') return text.trim();
  throw new InvalidArgumentError('Expected some text.');
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

/** `67108864`, `64MiB`, `1.5GB`. @throws InvalidArgumentError. */
export function byteCount(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-zA-Z]*)$/.exec(text);
  const factor = units[match?.[2] ?? '?'];
  const bytes = Math.floor(Number(match?.[1]) * (factor ?? Number.NaN));
  if (bytes > 0) return bytes;
  throw new InvalidArgumentError('Expected bytes, such as 67108864, 64MiB or 1.5GB.');
}
