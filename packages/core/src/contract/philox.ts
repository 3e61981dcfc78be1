import { type Shape, sizeOf } from './shape.js';

/**
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011): a keyed
 * bijection of 128-bit counters. Every word can be computed independently, in any order, so chunks, backends and the
 * backward pass can all repeat the same dropout.
 */
export type PhiloxCounter = readonly [number, number, number, number];
export type PhiloxKey = readonly [number, number];

const ROUNDS = 10;
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** Upper 32 bits, as i32, of the product of two unsigned 32-bit numbers: in halves, since engines compute i32 fastest. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const left = Math.imul(aHigh, bLow);
  const right = Math.imul(aLow, bHigh);
  const carry = ((Math.imul(aLow, bLow) >>> 16) + (left & 0xffff) + (right & 0xffff)) >>> 16;
  return (Math.imul(aHigh, bHigh) + (left >>> 16) + (right >>> 16) + carry) | 0;
}

/** The key of a seed: its low and its high 32 bits. Seeds are whole numbers from 0 to 2^53 - 1. */
export function philoxKey(seed: number): PhiloxKey {
  return [seed >>> 0, Math.floor(seed / 0x1_0000_0000) >>> 0];
}

/** The four output words, unsigned. */
export function philox4x32(counter: PhiloxCounter, key: PhiloxKey): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0) >>> 0;
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/**
 * The random word at four coordinates, unsigned: word d & 3 of `philox4x32([a, b, c, d >>> 2], key)`, so that four
 * neighbours along the last coordinate share a call. Coordinates count modulo 2^32.
 */
export function randomWord([a, b, c, d]: PhiloxCounter, key: PhiloxKey): number {
  return philox4x32([a, b, c, d >>> 2], key)[d & 3] as number;
}

/**
 * What `Backend.randomBits` must return, computed here: for engines without a 32 x 32 -> 64 bit product, where
 * emulating one costs more than uploading the bits. Fills `into` if given; its length must match the shape.
 */
export function philoxBits(seed: number, offset: PhiloxCounter, shape: Shape, into?: Int32Array): Int32Array {
  const [k0, k1] = philoxKey(seed);
  const bits = into ?? new Int32Array(sizeOf(shape));
  const [d0, d1, d2, d3] = [...shape, 1, 1, 1, 1] as [number, number, number, number];
  const words = new Int32Array(4);
  let position = 0;
  for (let a = 0; a < d0; a++) {
    for (let b = 0; b < d1; b++) {
      for (let c = 0; c < d2; c++) {
        for (let d = 0; d < d3; d++) {
          const last = (offset[3] + d) >>> 0;
          if (d === 0 || (last & 3) === 0) {
            fillWords(words, offset[0] + a, offset[1] + b, offset[2] + c, last >>> 2, k0, k1);
          }
          bits[position++] = words[last & 3] as number;
        }
      }
    }
  }
  return bits;
}

/** The words of `philox4x32` as i32. No new arrays: a chunk of dropout factors asks for millions of words. */
function fillWords(
  words: Int32Array,
  a: number,
  b: number,
  c: number,
  d: number,
  key0: number,
  key1: number,
): void {
  let [c0, c1, c2, c3, k0, k1] = [a | 0, b | 0, c | 0, d | 0, key0 | 0, key1 | 0];
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0);
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + WEYL_0) | 0;
    k1 = (k1 + WEYL_1) | 0;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}
