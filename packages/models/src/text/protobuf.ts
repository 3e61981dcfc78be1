import { TopKError } from '@topk-attention/core';

/** A field of a message: its number, and a number, or bytes. */
export interface Field {
  readonly number: number;
  /** Of varints and fixed-length fields. */
  readonly value: number;
  /** Of fields with a length, and of fixed-length ones. */
  readonly bytes: Uint8Array;
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** The fields of a message of Protocol Buffers, in order. @throws TopKError FILE_CORRUPT */
export function* fieldsOf(file: string, message: Uint8Array): Generator<Field, void> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = message[at++];
      if (byte === undefined) break;
      // Not with shifts, which stop at 32 bits. Beyond 2 ** 53 nothing here is of use.
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw broken(file, 'a whole number', at);
  };
  const take = (length: number): Uint8Array => {
    if (length > message.length - at) throw broken(file, `${length} bytes`, at);
    at += length;
    return message.subarray(at - length, at);
  };
  while (at < message.length) {
    const tag = varint();
    const number = Math.floor(tag / 8);
    const type = tag % 8;
    if (number === 0) throw broken(file, 'a field', at);
    if (type === VARINT) yield { number, value: varint(), bytes: message.subarray(at, at) };
    else if (type === BYTES) yield { number, value: 0, bytes: take(varint()) };
    else if (type === FIXED32) yield { number, value: 0, bytes: take(4) };
    else if (type === FIXED64) yield { number, value: 0, bytes: take(8) };
    else throw broken(file, 'a type of field', at);
  }
}

/** The f32 of a fixed-length field. @throws TopKError FILE_CORRUPT */
export function floatOf(file: string, { bytes }: Field): number {
  if (bytes.length !== 4) throw broken(file, 'a float of 4 bytes', bytes.length);
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getFloat32(0, true);
}

/** The text of a field. @throws TopKError FILE_CORRUPT */
export function textOf(file: string, { bytes }: Field): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw broken(file, 'text in UTF-8', bytes.length);
  }
}

function broken(file: string, expected: string, at: number): TopKError {
  return new TopKError('FILE_CORRUPT', `${file} is broken`, {
    expected,
    got: `something else before byte ${at}`,
    fix: 'Download the file again',
  });
}
