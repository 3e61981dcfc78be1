/** A hash of bytes that arrive in pieces. WebCrypto takes only whole files, and none at all in insecure pages. */
export interface RunningHash {
  update(bytes: Uint8Array): void;
  /** In hex. Ends the hash. */
  digest(): string;
}

const BLOCK = 64;

/** Mixes one block, as sixteen big-endian words at the start of `words`, into the state. */
interface Algorithm {
  readonly start: readonly number[];
  readonly scratch: number;
  mix(state: Int32Array, words: Int32Array): void;
}

/** SHA-1 (FIPS 180-4, 6.1): what git names contents by. */
const sha1: Algorithm = {
  start: [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0],
  scratch: 80,
  mix(state, w) {
    // Word by word: taken apart as a list, the state costs a third of the speed, and lists in the rounds more than that.
    let a = state[0] as number;
    let b = state[1] as number;
    let c = state[2] as number;
    let d = state[3] as number;
    let e = state[4] as number;
    for (let t = 0; t < 80; t++) {
      if (t >= 16) {
        const x = (w[t - 3] as number) ^ (w[t - 8] as number) ^ (w[t - 14] as number) ^ (w[t - 16] as number);
        w[t] = (x << 1) | (x >>> 31);
      }
      const mixed =
        t < 20
          ? ((b & c) | (~b & d)) + 0x5a827999
          : t < 40
            ? (b ^ c ^ d) + 0x6ed9eba1
            : t < 60
              ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
              : (b ^ c ^ d) + 0xca62c1d6;
      const next = (((a << 5) | (a >>> 27)) + mixed + e + (w[t] as number)) | 0;
      e = d;
      d = c;
      c = (b << 30) | (b >>> 2);
      b = a;
      a = next;
    }
    add(state, [a, b, c, d, e]);
  },
};

/** The first 32 bits of the fractional parts of roots of the first primes, as SHA-256 takes its constants. */
function rootBits(count: number, power: number): Int32Array {
  const bits = new Int32Array(count);
  for (let found = 0, n = 2; found < count; n++) {
    let isPrime = true;
    for (let by = 2; by * by <= n; by++) if (n % by === 0) isPrime = false;
    if (!isPrime) continue;
    const root = n ** power;
    bits[found++] = Math.floor((root - Math.floor(root)) * 2 ** 32) | 0;
  }
  return bits;
}

const constants = /* @__PURE__ */ rootBits(64, 1 / 3);

/** SHA-256 (FIPS 180-4, 6.2): what large files are named by. */
const sha256: Algorithm = {
  start: /* @__PURE__ */ Array.from(/* @__PURE__ */ rootBits(8, 1 / 2)),
  scratch: 64,
  mix(state, w) {
    let a = state[0] as number;
    let b = state[1] as number;
    let c = state[2] as number;
    let d = state[3] as number;
    let e = state[4] as number;
    let f = state[5] as number;
    let g = state[6] as number;
    let h = state[7] as number;
    for (let t = 0; t < 64; t++) {
      if (t >= 16) {
        const x = w[t - 15] as number;
        const y = w[t - 2] as number;
        const small = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
        const large = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
        w[t] = ((w[t - 16] as number) + small + (w[t - 7] as number) + large) | 0;
      }
      const ofE = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const chosen = (e & f) ^ (~e & g);
      const one = (h + ofE + chosen + (constants[t] as number) + (w[t] as number)) | 0;
      const ofA = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const two = (ofA + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + one) | 0;
      d = c;
      c = b;
      b = a;
      a = (one + two) | 0;
    }
    add(state, [a, b, c, d, e, f, g, h]);
  },
};

function add(state: Int32Array, values: readonly number[]): void {
  for (const [at, value] of values.entries()) state[at] = ((state[at] as number) + value) | 0;
}

/** @param hexDigits 40 for SHA-1, 64 for SHA-256 */
export function runningHash(hexDigits: 40 | 64): RunningHash {
  const { start, scratch, mix } = hexDigits === 40 ? sha1 : sha256;
  const state = Int32Array.from(start);
  const words = new Int32Array(scratch);
  const rest = new Uint8Array(BLOCK);
  let held = 0;
  let total = 0;
  const take = (bytes: Uint8Array, from: number): void => {
    for (let i = 0, at = from; i < 16; i++, at += 4) {
      words[i] =
        ((bytes[at] as number) << 24) |
        ((bytes[at + 1] as number) << 16) |
        ((bytes[at + 2] as number) << 8) |
        (bytes[at + 3] as number);
    }
    mix(state, words);
  };
  const update = (bytes: Uint8Array): void => {
    total += bytes.length;
    let at = 0;
    if (held > 0) {
      at = Math.min(BLOCK - held, bytes.length);
      rest.set(bytes.subarray(0, at), held);
      held += at;
      if (held < BLOCK) return;
      take(rest, 0);
      held = 0;
    }
    for (; at + BLOCK <= bytes.length; at += BLOCK) take(bytes, at);
    rest.set(bytes.subarray(at));
    held = bytes.length - at;
  };
  return {
    update,
    digest() {
      const bits = total * 8;
      const padding = new Uint8Array(((BLOCK + 55 - (total % BLOCK)) % BLOCK) + 9);
      padding[0] = 0x80;
      const view = new DataView(padding.buffer);
      view.setUint32(padding.length - 8, Math.floor(bits / 2 ** 32));
      view.setUint32(padding.length - 4, bits >>> 0);
      update(padding);
      return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
    },
  };
}
