import { formatBytes, TopKError } from '@topk-attention/core';
import { type StoredDType, storedBits } from './stored-dtype.js';

/** Type and shape of a tensor in a file. */
export interface TensorDescription {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
}

/** Type, shape and position of a tensor of a safetensors file. Offsets count from the end of the header. */
export interface StoredTensor extends TensorDescription {
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly metadata: { readonly [key: string]: string };
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** Bytes before the header: its length as u64. */
export const PREFIX_BYTES = 8;

/** The limit that the format sets. */
const MAX_HEADER_BYTES = 100_000_000;

/** Length of the header from the first 8 bytes of a file of `size` bytes. @throws TopKError FILE_TRUNCATED, FILE_CORRUPT. */
export function headerLength(file: string, prefix: Uint8Array, size: number): number {
  if (size < PREFIX_BYTES || prefix.byteLength < PREFIX_BYTES) {
    throw truncated(
      file,
      'the file ends inside the length of its header',
      `${PREFIX_BYTES} bytes`,
      `${size}`,
    );
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES).getBigUint64(0, true);
  if (length < 2n || length > BigInt(MAX_HEADER_BYTES)) {
    throw corrupt(file, 'bad header length', `2 to ${MAX_HEADER_BYTES} bytes`, `${length}`);
  }
  if (Number(length) > size - PREFIX_BYTES) {
    throw truncated(
      file,
      'the file ends inside its header',
      `${PREFIX_BYTES + Number(length)} bytes`,
      `${size}`,
    );
  }
  return Number(length);
}

/**
 * Checks everything a header claims before a byte of data is read: names, dtypes, shapes, and that the tensors fill
 * the `dataBytes` after the header without a gap or an overlap.
 *
 * @throws TopKError FILE_CORRUPT, or FILE_TRUNCATED when well-formed tensors reach past the end of the file.
 */
export function parseHeader(file: string, bytes: Uint8Array, dataBytes: number): SafetensorsHeader {
  const json = parseJson(file, bytes);
  const tensors = new Map<string, StoredTensor>();
  let metadata: { readonly [key: string]: string } = {};
  for (const [name, value] of Object.entries(json)) {
    if (name === '__metadata__') metadata = checkMetadata(file, value);
    else tensors.set(name, checkTensor(file, name, value));
  }
  checkLayout(file, tensors, dataBytes);
  return { metadata, tensors };
}

function parseJson(file: string, bytes: Uint8Array): object {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    const got = cause instanceof Error ? cause.message : String(cause);
    throw corrupt(file, 'the header is not JSON', 'a JSON object in UTF-8', got, cause);
  }
  if (isObject(value)) return value;
  throw corrupt(
    file,
    'the header is not a JSON object',
    'an object',
    Array.isArray(value) ? 'an array' : typeof value,
  );
}

function checkMetadata(file: string, value: unknown): { readonly [key: string]: string } {
  if (value === null) return {};
  if (isObject(value)) {
    const entries = Object.entries(value);
    if (entries.every((entry): entry is [string, string] => typeof entry[1] === 'string')) {
      return Object.fromEntries(entries);
    }
  }
  throw corrupt(file, 'bad __metadata__', 'an object of strings', JSON.stringify(value).slice(0, 80));
}

function checkTensor(file: string, name: string, value: unknown): StoredTensor {
  if (!isObject(value))
    throw corrupt(file, `tensor ${name} is not described`, 'an object', JSON.stringify(value).slice(0, 80));
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || dtype === '') {
    throw corrupt(
      file,
      `tensor ${name} has no dtype`,
      'the name of a dtype',
      JSON.stringify(dtype) ?? 'nothing',
    );
  }
  if (!isWholeNumbers(shape)) {
    throw corrupt(
      file,
      `tensor ${name} has a bad shape`,
      'whole numbers from 0',
      JSON.stringify(shape) ?? 'nothing',
    );
  }
  const [begin, end] = isWholeNumbers(offsets) && offsets.length === 2 ? offsets : [];
  if (begin === undefined || end === undefined || begin > end) {
    throw corrupt(
      file,
      `tensor ${name} has bad data_offsets`,
      '[begin, end], 0 <= begin <= end',
      JSON.stringify(offsets) ?? 'nothing',
    );
  }
  checkSize(file, name, { dtype, shape, begin, end });
  return { dtype, shape, begin, end };
}

/** Checks that data and shape agree. Tensors of types of unknown size are accepted here; reading one is an error. */
function checkSize(file: string, name: string, { dtype, shape, begin, end }: StoredTensor): void {
  const bits = storedBits(dtype);
  if (bits === undefined) return;
  // In BigInt: a huge claimed shape must not wrap around to the right number.
  const needed = shape.reduce((product, extent) => product * BigInt(extent), BigInt(bits));
  if (needed === BigInt(end - begin) * 8n) return;
  const bytes = needed % 8n === 0n ? `${needed / 8n} bytes` : `${needed} bits, not a whole number of bytes,`;
  throw corrupt(
    file,
    `the data of tensor ${name} has the wrong size`,
    `${bytes} for ${dtype} [${shape.join(', ')}]`,
    `${end - begin} bytes`,
  );
}

function checkLayout(file: string, tensors: ReadonlyMap<string, StoredTensor>, dataBytes: number): void {
  const ordered = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let position = 0;
  for (const [name, { begin, end }] of ordered) {
    if (begin !== position) {
      const what = begin < position ? 'overlaps the one before' : 'leaves a gap before it';
      throw corrupt(file, `tensor ${name} ${what}`, `data from byte ${position}`, `from byte ${begin}`);
    }
    position = end;
  }
  if (position > dataBytes) {
    throw truncated(
      file,
      'the file ends inside its data',
      `${formatBytes(position)} (${position} bytes) of data`,
      `${dataBytes} bytes`,
    );
  }
  if (position < dataBytes) {
    throw corrupt(file, 'bytes after the last tensor', `${position} bytes of data`, `${dataBytes} bytes`);
  }
}

function isWholeNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((one) => Number.isSafeInteger(one) && one >= 0);
}

function isObject(value: unknown): value is { readonly [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function truncated(file: string, what: string, expected: string, got: string): TopKError {
  return new TopKError('FILE_TRUNCATED', `${file}: ${what}`, {
    expected,
    got,
    fix: 'Download or copy the file again',
  });
}

export function corrupt(
  file: string,
  what: string,
  expected: string,
  got: string,
  cause?: unknown,
): TopKError {
  return new TopKError('FILE_CORRUPT', `${file}: ${what}`, {
    expected,
    got,
    fix: 'Download the file again, or write it again with a safetensors library',
    cause,
  });
}
