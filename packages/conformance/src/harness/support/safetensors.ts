import { check } from './assert.js';
import type { Nd } from './nd.js';

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** As much of the format as the golden files use: F64, F32, I32 and BOOL, little-endian, as plain numbers. */
export function parseSafetensors(bytes: Uint8Array): ReadonlyMap<string, Nd> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = Number(view.getBigUint64(0, true));
  const header: Record<string, Entry> = JSON.parse(
    new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes)),
  );
  const tensors = new Map<string, Nd>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const start = 8 + headerBytes + entry.data_offsets[0];
    const length = entry.shape.reduce((size, extent) => size * extent, 1);
    const readAt = reader(view, entry.dtype);
    const data = Array.from({ length }, (_, index) => readAt(start, index));
    tensors.set(name, { shape: entry.shape, data });
  }
  return tensors;
}

function reader(view: DataView, dtype: string): (start: number, index: number) => number {
  switch (dtype) {
    case 'F64':
      return (start, index) => view.getFloat64(start + 8 * index, true);
    case 'F32':
      return (start, index) => view.getFloat32(start + 4 * index, true);
    case 'I32':
      return (start, index) => view.getInt32(start + 4 * index, true);
    case 'BOOL':
      return (start, index) => view.getUint8(start + index);
    default:
      check(false, `golden file with dtype ${dtype}`);
  }
}
