import type { OrtModule, OrtSession, OrtTensor } from './ort.js';

type Feeds = { readonly [name: string]: OrtTensor };
type Results = { readonly [name: string]: OrtTensor };

const arrayTypes = [Float32Array, Int32Array, BigInt64Array, Uint8Array] as const;

/** Number of current runs that need `instanceof` widened. */
let widened = 0;
let isForeignRealm = false;

/**
 * `session.run` that also works when this module lives in a different realm from Node itself, as under Jest. There
 * `onnxruntime-node` makes its results from arrays of Node's realm, and its own Tensor refuses them because they are
 * not `instanceof` this realm's Float32Array. So `instanceof` is widened while a session runs, and results get arrays
 * of this realm over the same memory. The first run detects the problem; runs have no side effects, so it is repeated.
 */
export async function runSession(
  ort: OrtModule,
  session: OrtSession,
  feeds: Feeds,
  names: readonly string[],
): Promise<Results> {
  if (!isForeignRealm) {
    try {
      return await session.run(feeds, names);
    } catch (error) {
      if (!/tensor's data must be type of/.test(String(error))) throw error;
      isForeignRealm = true;
    }
  }
  widen();
  try {
    const results = Object.entries(await session.run(feeds, names));
    return Object.fromEntries(results.map(([name, tensor]) => [name, inThisRealm(ort, tensor)]));
  } finally {
    narrow();
  }
}

function widen(): void {
  if (widened++ > 0) return;
  for (const type of arrayTypes) {
    const value = function (this: unknown, one: unknown): boolean {
      const isOfType =
        ArrayBuffer.isView(one) && Object.prototype.toString.call(one) === `[object ${type.name}]`;
      return this === type ? isOfType : Function.prototype[Symbol.hasInstance].call(this as () => void, one);
    };
    Object.defineProperty(type, Symbol.hasInstance, { value, configurable: true });
  }
}

function narrow(): void {
  if (--widened > 0) return;
  for (const type of arrayTypes) Reflect.deleteProperty(type, Symbol.hasInstance);
}

function inThisRealm(ort: OrtModule, tensor: OrtTensor): OrtTensor {
  const { data } = tensor;
  if (!ArrayBuffer.isView(data)) return tensor;
  const type = arrayTypes.find(({ name }) => Object.prototype.toString.call(data) === `[object ${name}]`);
  if (type === undefined) return tensor;
  const own = new type(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength / type.BYTES_PER_ELEMENT);
  return new ort.Tensor(tensor.type, own, tensor.dims);
}
