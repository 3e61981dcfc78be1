import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { isObject } from '@topk-attention/app-kit';
import type { TaskName } from '../tasks/task.js';
import { corrupt, truncated } from './errors.js';
import { unpacked } from './lines.js';
import { Rows } from './rows.js';
import type { SplitName } from './splits.js';

/** What a packed file says about itself. */
export interface PackedHeader {
  readonly task: TaskName;
  readonly split: SplitName;
  /** How the rows were made: the generator's parameters and seed, or the files they were read from. */
  readonly about: { readonly [name: string]: unknown };
}

const FORMAT = 'topk-attention lra rows';
const VERSION = 1;

interface Stored extends PackedHeader {
  readonly format: string;
  readonly version: number;
  readonly rows: number;
  readonly parts: 1 | 2;
  readonly symbols: number;
  readonly sha256: string;
}

/** Name of the packed file of a split. */
export function packedName(task: TaskName, split: SplitName): string {
  return `${task}-${split}.rows`;
}

/**
 * Rows as one file: a line of JSON, one byte per label, four per document's length (little endian), then the symbols.
 * Compressed with gzip on request.
 */
export function encodeRows(
  rows: Rows,
  header: PackedHeader,
  { gzip = false }: { readonly gzip?: boolean } = {},
): Uint8Array {
  const lengths = Buffer.alloc(4 * rows.length * rows.parts);
  for (let at = 0; at < rows.starts.length - 1; at++)
    lengths.writeUInt32LE((rows.starts[at + 1] as number) - (rows.starts[at] as number), 4 * at);
  const body = [rows.labels, lengths, rows.symbols];
  const stored: Stored = {
    format: FORMAT,
    version: VERSION,
    ...header,
    rows: rows.length,
    parts: rows.parts,
    symbols: rows.symbols.length,
    sha256: hashOf(body),
  };
  const whole = Buffer.concat([Buffer.from(`${JSON.stringify(stored)}\n`), ...body]);
  return gzip ? gzipSync(whole) : whole;
}

/** Reads what `encodeRows` wrote. @throws TopKError FILE_TRUNCATED, FILE_CORRUPT */
export async function readRows(
  path: string,
): Promise<{ readonly rows: Rows; readonly header: PackedHeader }> {
  const chunks: Buffer[] = [];
  for await (const chunk of unpacked(path)) chunks.push(chunk);
  return decodeRows(Buffer.concat(chunks), path);
}

/** The same from memory; `path` is for errors. */
function decodeRows(bytes: Buffer, path: string): { readonly rows: Rows; readonly header: PackedHeader } {
  const end = bytes.indexOf(0x0a);
  const stored = headerOf(bytes.subarray(0, Math.max(0, end)).toString('utf8'), path);
  const { rows: count, parts, symbols: size } = stored;
  const lengthsAt = end + 1 + count;
  const symbolsAt = lengthsAt + 4 * count * parts;
  if (bytes.length < symbolsAt + size)
    throw truncated(path, `${symbolsAt + size} bytes`, String(bytes.length));
  const body = bytes.subarray(end + 1);
  if (body.length !== count + 4 * count * parts + size || hashOf([body]) !== stored.sha256)
    throw corrupt(path, 'the bytes that its header describes', 'others');
  const starts = new Float64Array(count * parts + 1);
  for (let at = 0; at < count * parts; at++)
    starts[at + 1] = (starts[at] as number) + bytes.readUInt32LE(lengthsAt + 4 * at);
  const { task, split, about } = stored;
  return {
    rows: new Rows(
      new Uint8Array(bytes.subarray(end + 1, lengthsAt)),
      starts,
      new Uint8Array(bytes.subarray(symbolsAt)),
      parts,
    ),
    header: { task, split, about },
  };
}

function headerOf(line: string, path: string): Stored {
  let read: unknown;
  try {
    read = JSON.parse(line);
  } catch {
    read = undefined;
  }
  if (!isObject(read) || read.format !== FORMAT) throw corrupt(path, `a file of '${FORMAT}'`, 'another one');
  if (read.version !== VERSION) throw corrupt(path, `version ${VERSION}`, `version ${read.version}`);
  return read as typeof read & Stored;
}

function hashOf(parts: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}
