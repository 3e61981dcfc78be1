import { describeValue, TopKError } from '@topk-attention/core';
import { type ByteSource, bytesSource } from '../files/byte-source.js';
import type { TensorDescription } from '../safetensors/header.js';
import type { TensorReader } from '../safetensors/read.js';
import { decodeStored, type StoredData, storedBits } from '../safetensors/stored-dtype.js';
import { toFloat32 } from '../safetensors/widen.js';
import { product } from './build.js';
import { corrupt, truncated, unsupported } from './faults.js';
import { NeedsMore, type Unpickled, unpickle } from './unpickle.js';
import { Dict, type Storage, TorchTensor, type Value } from './values.js';
import { type Entry, readZip } from './zip.js';

/** Names, shapes and places of forty thousand tensors take 10 MB. */
const MAX_PICKLE_BYTES = 16 * 2 ** 20;

/** What the files of torch.save before 1.6 begin with: a pickle of their magic number. */
const OLD_MAGIC = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];
const OLD_PROTOCOL = 1001;

/** A file of torch.save, opened: what it holds, and where its storages are. */
interface Contents {
  readonly value: Value;
  place(storage: Storage): Entry;
}

/**
 * Opens a file that torch.save wrote of a state_dict, such as pytorch_model.bin: the zip archives since PyTorch 1.6 and
 * the older files. Only tensors are built from the pickle, and no code of the file is run. Descriptions are read and
 * checked here; values when they are asked for. On failure the source is closed.
 *
 * @throws TopKError FILE_CORRUPT, FILE_TRUNCATED, UNSAFE_FILE for a pickle that asks for anything else, UNSUPPORTED for
 * compressed archives, big-endian values and tensors that are not dense, INVALID_OPTION.
 *
 * @example
 * const file = await openTorchFile(await openFile('pytorch_model.bin'));
 * const weight = await file.readFloat32('shared.weight');
 */
export async function openTorchFile(data: ByteSource | ArrayBuffer | Uint8Array): Promise<TensorReader> {
  const source = data instanceof ArrayBuffer || data instanceof Uint8Array ? bytesSource(data) : data;
  if (typeof source?.read !== 'function') {
    throw new TopKError('INVALID_OPTION', 'openTorchFile: nothing to read from', {
      expected: 'the bytes of a file, or a ByteSource',
      got: describeValue(data),
      fix: 'Open a path with openFile(path)',
    });
  }
  try {
    const { value, place } = await readContents(source);
    const tensors = tensorsOf(source.name, value);
    const places = new Map<Storage, Entry>();
    for (const { storage } of tensors.values()) places.set(storage, placeOf(source.name, storage, place));
    const read = async (name: string): Promise<StoredData> => {
      const tensor = tensors.get(name);
      if (tensor === undefined) {
        throw new TopKError('MISSING_WEIGHT', `${source.name}: no tensor ${name}`, {
          expected: 'a name of the file',
        });
      }
      return readTensor(source, name, tensor, places.get(tensor.storage) as Entry);
    };
    return {
      name: source.name,
      tensors: new Map([...tensors].map(([name, tensor]) => [name, describe(tensor)])),
      read,
      readFloat32: async (name) => toFloat32(tensors.get(name)?.storage.dtype ?? '', await read(name)),
      close: () => source.close(),
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function readContents(source: ByteSource): Promise<Contents> {
  const start = await source.read(0, OLD_MAGIC.length);
  if (OLD_MAGIC.every((byte, at) => byte === start[at])) return readOld(source);
  if (start[0] === 0x50 && start[1] === 0x4b && start[2] === 3 && start[3] === 4) return readArchive(source);
  throw corrupt(
    source.name,
    'not a file of torch.save',
    'a zip archive, or a pickle of its magic number',
    JSON.stringify(new TextDecoder().decode(start)),
  );
}

async function readArchive(source: ByteSource): Promise<Contents> {
  const entries = await readZip(source);
  const pickles = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  const [name = ''] = pickles;
  const entry = entries.get(name);
  if (entry === undefined || pickles.length !== 1) {
    throw corrupt(source.name, 'not an archive of torch.save', 'one data.pkl', `${pickles.length}`);
  }
  const folder = name.slice(0, -'data.pkl'.length);
  if (entries.has(`${folder}constants.pkl`))
    throw unsupported(source.name, 'the archive is of TorchScript', 'code');
  const order = entries.get(`${folder}byteorder`);
  if (order !== undefined) {
    const text = new TextDecoder().decode(await source.read(order.begin, Math.min(order.size, 16)));
    if (text !== 'little')
      throw unsupported(source.name, 'the byte order is not supported', JSON.stringify(text));
  }
  if (entry.size > MAX_PICKLE_BYTES)
    throw corrupt(source.name, 'the pickle is too long', `up to ${MAX_PICKLE_BYTES} bytes`, `${entry.size}`);
  const bytes = await source.read(entry.begin, entry.size);
  const { value } = whole(source.name, () => unpickle(source.name, bytes));
  return {
    value,
    place(storage) {
      const found = entries.get(`${folder}data/${storage.key}`);
      if (found !== undefined) return found;
      throw corrupt(
        source.name,
        'a storage is missing',
        `${folder}data/${JSON.stringify(storage.key)}`,
        'nothing',
      );
    },
  };
}

/** The files before PyTorch 1.6: five pickles (magic number, protocol, system, value, keys), then the storages by key. */
async function readOld(source: ByteSource): Promise<Contents> {
  const pickles = await readPickles(source, 5);
  const [, protocol, system, { value } = { value: undefined }, keys] = pickles;
  if (protocol?.value !== OLD_PROTOCOL)
    throw corrupt(source.name, 'unknown protocol', `${OLD_PROTOCOL}`, describeValue(protocol?.value));
  if (system?.value instanceof Dict && system.value.entries.get('little_endian') === false)
    throw unsupported(source.name, 'the byte order is not supported', 'big-endian');
  const storages = new Map<string, Storage>();
  for (const { storage } of tensorsOf(source.name, value).values()) storages.set(storage.key, storage);
  const places = new Map<string, Entry>();
  let at = keys?.end ?? 0;
  for (const key of Array.isArray(keys?.value) ? keys.value : []) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined;
    // One of something that is not a tensor of the state_dict: without its type, what follows cannot be found.
    if (storage === undefined)
      throw corrupt(source.name, 'a storage without a tensor', 'keys of tensors', describeValue(key));
    const prefix = await source.read(at, 8);
    const elements =
      prefix.length === 8 ? new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true) : undefined;
    if (elements === undefined)
      throw truncated(source.name, 'the file ends before a storage', `storage ${key}`, 'nothing');
    if (elements !== BigInt(storage.elements))
      throw corrupt(
        source.name,
        `storage ${storage.key} has another length`,
        `${storage.elements}`,
        `${elements}`,
      );
    const size = bytesOf(storage);
    if (at + 8 + size > source.size)
      throw truncated(
        source.name,
        'the file ends inside a storage',
        `${at + 8 + size} bytes`,
        `${source.size}`,
      );
    places.set(storage.key, { begin: at + 8, size });
    at += 8 + size;
  }
  return {
    value,
    place(storage) {
      const found = places.get(storage.key);
      if (found !== undefined) return found;
      throw corrupt(source.name, 'a storage is missing', JSON.stringify(storage.key), 'nothing');
    },
  };
}

/** Pickles one after the other, from the start. How long they are shows only in reading them. */
async function readPickles(source: ByteSource, count: number): Promise<readonly Unpickled[]> {
  for (let length = 2 ** 20; ; length *= 4) {
    const bytes = await source.read(0, Math.min(length, source.size));
    const found: Unpickled[] = [];
    try {
      while (found.length < count) found.push(unpickle(source.name, bytes, found.at(-1)?.end ?? 0));
      return found;
    } catch (error) {
      if (!(error instanceof NeedsMore)) throw error;
      if (bytes.length < length || length >= MAX_PICKLE_BYTES) {
        throw truncated(
          source.name,
          'the file ends inside its pickle',
          'the whole pickle',
          `${bytes.length} bytes of it`,
        );
      }
    }
  }
}

function whole(file: string, read: () => Unpickled): Unpickled {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof NeedsMore)) throw error;
    throw corrupt(file, 'the pickle is broken', 'its end', 'the end of its bytes');
  }
}

/** The tensors of a state_dict by name; what else is in it is no weight. */
function tensorsOf(file: string, value: Value): ReadonlyMap<string, TorchTensor> {
  const tensors = new Map<string, TorchTensor>();
  for (const [name, one] of value instanceof Dict ? value.entries : []) {
    if (typeof name === 'string' && one instanceof TorchTensor) tensors.set(name, one);
  }
  if (tensors.size > 0) return tensors;
  throw unsupported(
    file,
    'no state_dict',
    value instanceof Dict ? 'a dict without tensors' : 'something else than a dict',
  );
}

function placeOf(file: string, storage: Storage, place: Contents['place']): Entry {
  const entry = place(storage);
  const size = bytesOf(storage);
  if (entry.size === size) return entry;
  throw corrupt(
    file,
    `storage ${JSON.stringify(storage.key)} has the wrong size`,
    `${size} bytes`,
    `${entry.size}`,
  );
}

function describe({ storage, shape }: TorchTensor): TensorDescription {
  return { dtype: storage.dtype, shape };
}

function bytesOf({ dtype, elements }: Storage): number {
  return elements * itemBytes(dtype);
}

function itemBytes(dtype: string): number {
  return (storedBits(dtype) ?? 8) / 8;
}

/** Reads the part of the storage that the tensor spans, and puts its elements into row-major order. */
async function readTensor(
  source: ByteSource,
  name: string,
  tensor: TorchTensor,
  { begin }: Entry,
): Promise<StoredData> {
  const { storage, offset, shape, strides } = tensor;
  const item = itemBytes(storage.dtype);
  const elements = product(shape);
  const span =
    elements === 0
      ? 0
      : shape.reduce((end, extent, axis) => end + (extent - 1) * (strides[axis] as number), 1);
  const bytes = await source.read(begin + offset * item, span * item);
  if (bytes.length < span * item) {
    // The file shrank after it was opened.
    throw truncated(
      source.name,
      `the file ends inside tensor ${name}`,
      `${span * item} bytes`,
      `${bytes.length}`,
    );
  }
  // A source may return a view at an odd offset, which typed arrays do not accept.
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  const values = decodeStored(`${source.name}: ${name}`, storage.dtype, aligned);
  return isRowMajor(shape, strides) ? values : gather(values, elements, shape, strides);
}

function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis] as number;
  }
  return true;
}

function gather(
  values: StoredData,
  elements: number,
  shape: readonly number[],
  strides: readonly number[],
): StoredData {
  const result = values.slice(0, elements);
  const index = shape.map(() => 0);
  let from = 0;
  for (let to = 0; to < elements; to++) {
    result[to] = values[from] as number & bigint;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis] as number;
      index[axis] = (index[axis] as number) + 1;
      if (index[axis] !== shape[axis]) break;
      from -= (shape[axis] as number) * (strides[axis] as number);
      index[axis] = 0;
    }
  }
  return result;
}
