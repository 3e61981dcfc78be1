import { describeValue, formatShape, type Shape, sizeOf, TopKError } from '@topk-attention/core';
import { writeFileAtomically } from '../files/node-files.js';
import { PREFIX_BYTES } from './header.js';
import { type StoredData, type StoredDType, storedBits } from './stored-dtype.js';

/** A tensor to write. The array must match the dtype: F16 and BF16 bits in a Uint16Array, I64 in a BigInt64Array. */
export interface TensorToWrite {
  readonly dtype: StoredDType;
  readonly shape: Shape;
  readonly data: StoredData;
}

/**
 * A safetensors file as parts to write in sequence: the header, then the data of each tensor. Equal tensors and
 * metadata give equal bytes whatever order they are passed in: larger elements first, then by name.
 *
 * @throws TopKError SHAPE_MISMATCH or DTYPE_MISMATCH when data, shape and dtype do not fit.
 */
function safetensorsParts(
  tensors: { readonly [name: string]: TensorToWrite },
  metadata: { readonly [key: string]: string },
): Uint8Array[] {
  const ordered = Object.entries(tensors).sort(
    ([nameA, a], [nameB, b]) =>
      (storedBits(b.dtype) ?? 0) - (storedBits(a.dtype) ?? 0) || compare(nameA, nameB),
  );
  const header: [string, unknown][] = [];
  const sortedMetadata = Object.entries(metadata).sort(([a], [b]) => compare(a, b));
  if (sortedMetadata.length > 0) header.push(['__metadata__', Object.fromEntries(sortedMetadata)]);
  const parts: Uint8Array[] = [];
  let position = 0;
  for (const [name, { dtype, shape, data }] of ordered) {
    checkTensor(name, dtype, shape, data);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    header.push([name, { dtype, shape: [...shape], data_offsets: [position, position + bytes.length] }]);
    parts.push(bytes);
    position += bytes.length;
  }
  // Not JSON.stringify of one object: integer-like names would move to the front.
  const text = `{${header.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`;
  const encoded = new TextEncoder().encode(text);
  // Spaces after the header keep the data aligned to 8 bytes.
  const length = Math.ceil(encoded.length / 8) * 8;
  const head = new Uint8Array(PREFIX_BYTES + length).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(length), true);
  head.set(encoded, PREFIX_BYTES);
  return [head, ...parts];
}

/** The bytes of a safetensors file. Deterministic. */
export function encodeSafetensors(
  tensors: { readonly [name: string]: TensorToWrite },
  metadata: { readonly [key: string]: string } = {},
): Uint8Array {
  const parts = safetensorsParts(tensors, metadata);
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let position = 0;
  for (const part of parts) {
    whole.set(part, position);
    position += part.length;
  }
  return whole;
}

/** Writes a safetensors file (Node, Deno, Bun). The path always holds the old file or the whole new one. */
export async function saveSafetensors(
  path: string,
  tensors: { readonly [name: string]: TensorToWrite },
  metadata: { readonly [key: string]: string } = {},
): Promise<void> {
  await writeFileAtomically(path, safetensorsParts(tensors, metadata));
}

function checkTensor(name: string, dtype: StoredDType, shape: Shape, data: StoredData): void {
  const expected = arrayNames[dtype];
  if (!ArrayBuffer.isView(data)) {
    throw new TopKError('INVALID_OPTION', `saveSafetensors: ${name} has no data`, {
      expected: 'a typed array',
      got: describeValue(data),
      // A tensor's `data` is its method.
      ...(typeof data === 'function' && { fix: 'Write the values: await stateDict(parameters)' }),
    });
  }
  if (expected === undefined || data.constructor.name !== expected) {
    throw new TopKError('DTYPE_MISMATCH', `saveSafetensors: ${name} has the wrong type of array`, {
      expected: expected === undefined ? 'a dtype that can be written' : `${expected} for ${dtype}`,
      got: `${data.constructor.name} for ${dtype}`,
    });
  }
  if (data.length === sizeOf(shape)) return;
  throw new TopKError('SHAPE_MISMATCH', `saveSafetensors: ${name} has the wrong number of elements`, {
    expected: `${sizeOf(shape)} for shape ${formatShape(shape)}`,
    got: String(data.length),
  });
}

const arrayNames: { readonly [dtype in StoredDType]?: string } = {
  F32: 'Float32Array',
  F64: 'Float64Array',
  F16: 'Uint16Array',
  BF16: 'Uint16Array',
  I32: 'Int32Array',
  I64: 'BigInt64Array',
  U8: 'Uint8Array',
  BOOL: 'Uint8Array',
};

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
