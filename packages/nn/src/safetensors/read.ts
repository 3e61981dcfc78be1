import { describeValue, TopKError } from '@topk-attention/core';
import { type ByteSource, bytesSource } from '../files/byte-source.js';
import {
  corrupt,
  headerLength,
  PREFIX_BYTES,
  parseHeader,
  type StoredTensor,
  type TensorDescription,
  truncated,
} from './header.js';
import { decodeStored, type StoredData } from './stored-dtype.js';
import { toFloat32 } from './widen.js';

/** Tensors by name, from one file or the shards of a checkpoint. Descriptions are known before any data is read. */
export interface TensorReader {
  /** For messages. */
  readonly name: string;
  readonly tensors: ReadonlyMap<string, TensorDescription>;
  /** The values of one tensor, as stored. Reads only that tensor's bytes. */
  read(name: string): Promise<StoredData>;
  /** The values of one floating-point tensor as f32. */
  readFloat32(name: string): Promise<Float32Array>;
  /** Frees the files; idempotent. */
  close(): Promise<void>;
}

export interface SafetensorsFile extends TensorReader {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: { readonly [key: string]: string };
}

/**
 * Opens a safetensors file: reads and checks only its header. On failure the source is closed.
 *
 * @throws TopKError FILE_TRUNCATED, FILE_CORRUPT, INVALID_OPTION.
 *
 * @example
 * const file = await openSafetensors(await openFile('model.safetensors'));
 * const weight = await file.readFloat32('shared.weight');
 */
export async function openSafetensors(data: ByteSource | ArrayBuffer | Uint8Array): Promise<SafetensorsFile> {
  const source = data instanceof ArrayBuffer || data instanceof Uint8Array ? bytesSource(data) : data;
  if (typeof source?.read !== 'function') {
    throw new TopKError('INVALID_OPTION', 'openSafetensors: nothing to read from', {
      expected: 'the bytes of a file, or a ByteSource',
      got: describeValue(data),
      fix: 'Open a path with openFile(path)',
    });
  }
  try {
    const prefix = await source.read(0, PREFIX_BYTES);
    const length = headerLength(source.name, prefix, source.size);
    const bytes = await source.read(PREFIX_BYTES, length);
    if (bytes.byteLength < length) {
      throw truncated(
        source.name,
        'the file ends inside its header',
        `${length} bytes`,
        `${bytes.byteLength}`,
      );
    }
    const start = PREFIX_BYTES + length;
    const { metadata, tensors } = parseHeader(source.name, bytes, source.size - start);
    const read = (name: string): Promise<StoredData> => readTensor(source, start, name, tensors.get(name));
    return {
      name: source.name,
      metadata,
      tensors,
      read,
      async readFloat32(name) {
        const values = await read(name);
        return toFloat32((tensors.get(name) as StoredTensor).dtype, values);
      },
      close: () => source.close(),
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function readTensor(
  source: ByteSource,
  start: number,
  name: string,
  stored: StoredTensor | undefined,
): Promise<StoredData> {
  if (stored === undefined) {
    throw new TopKError('MISSING_WEIGHT', `${source.name}: no tensor ${name}`, {
      expected: 'a name of the header',
    });
  }
  const length = stored.end - stored.begin;
  const bytes = await source.read(start + stored.begin, length);
  if (bytes.byteLength < length) {
    // The file shrank after it was opened.
    throw truncated(
      source.name,
      `the file ends inside tensor ${name}`,
      `${length} bytes`,
      `${bytes.byteLength}`,
    );
  }
  // A source may return a view at an odd offset, which typed arrays do not accept.
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  return decodeStored(`${source.name}: ${name}`, stored.dtype, aligned);
}

/**
 * The shards of a checkpoint as one reader, from the contents of `model.safetensors.index.json`, or of
 * `pytorch_model.bin.index.json` with `openTorchFile` as the last argument.
 *
 * @throws TopKError FILE_CORRUPT when the index and the shards disagree; whatever opening a shard throws.
 */
export async function openShards(
  indexName: string,
  indexJson: string,
  open: (file: string) => Promise<ByteSource>,
  openShard: (source: ByteSource) => Promise<TensorReader> = openSafetensors,
): Promise<TensorReader> {
  const weightMap = parseIndex(indexName, indexJson);
  const files = new Map<string, TensorReader>();
  const closeAll = async (): Promise<void> => {
    await Promise.all([...files.values()].map((file) => file.close()));
  };
  try {
    for (const file of new Set(weightMap.values())) files.set(file, await openShard(await open(file)));
    const tensors = new Map<string, TensorDescription>();
    for (const [name, file] of weightMap) {
      const stored = files.get(file)?.tensors.get(name);
      if (stored === undefined)
        throw corrupt(
          indexName,
          `${name} is not in its shard`,
          `a tensor of that name in ${file}`,
          'nothing',
        );
      tensors.set(name, stored);
    }
    for (const [file, { tensors: own }] of files) {
      for (const name of own.keys()) {
        if (weightMap.get(name) !== file)
          throw corrupt(indexName, `${name} is not listed`, `a tensor of that name in ${file}`, 'nothing');
      }
    }
    const shardOf = (name: string): TensorReader => {
      const file = files.get(weightMap.get(name) ?? '');
      if (file !== undefined) return file;
      throw new TopKError('MISSING_WEIGHT', `${indexName}: no tensor ${name}`, {
        expected: 'a name of the index',
      });
    };
    return {
      name: indexName,
      tensors,
      read: async (name) => shardOf(name).read(name),
      readFloat32: async (name) => shardOf(name).readFloat32(name),
      close: closeAll,
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

function parseIndex(file: string, text: string): ReadonlyMap<string, string> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw corrupt(file, 'not JSON', 'a JSON object', text.slice(0, 40), cause);
  }
  const map =
    typeof value === 'object' && value !== null && 'weight_map' in value ? value.weight_map : undefined;
  const entries = Object.entries(typeof map === 'object' && map !== null ? map : {});
  // A shard must be in its index's folder: a path could reach files outside the checkpoint.
  const isFine = (entry: [string, unknown]): entry is [string, string] =>
    typeof entry[1] === 'string' && /^[^/\\]+$/.test(entry[1]) && entry[1] !== '..';
  if (entries.length > 0 && entries.every(isFine)) return new Map(entries);
  throw corrupt(
    file,
    'bad weight_map',
    'an object of tensor names and file names',
    JSON.stringify(map)?.slice(0, 80) ?? 'nothing',
  );
}
