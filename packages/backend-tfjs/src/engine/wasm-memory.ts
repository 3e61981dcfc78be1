import type { Tf } from '../tf.js';

/** The part of the wasm engine's module that is used here. */
interface WasmModule {
  _malloc(bytes: number): number;
  _free(address: number): void;
}

/** Bytes that 32-bit addresses reach. */
const HEAP_BYTES = 2 ** 32;

const guarded = new WeakSet<WasmModule>();

/**
 * Makes tf's wasm engine throw when it runs out of memory. On its own, the engine treats the address 0 that malloc
 * then returns as memory and overwrites its own data: wrong numbers, and no error.
 */
export function guardWasmMemory(tf: Tf): void {
  const backend: object = tf.backend();
  if (!('wasm' in backend) || !isModule(backend.wasm) || guarded.has(backend.wasm)) return;
  const { wasm } = backend;
  guarded.add(wasm);
  // The first call replaces a function that looks up the real one.
  wasm._free(wasm._malloc(8));
  const malloc = wasm._malloc;
  wasm._malloc = (bytes) => {
    const address = bytes < HEAP_BYTES ? malloc(bytes) : 0;
    if (address !== 0) return address;
    throw new RangeError(
      `out of memory: ${bytes} bytes do not fit in what is left of the 4 GiB of WebAssembly`,
    );
  };
}

function isModule(value: unknown): value is WasmModule {
  return (
    typeof value === 'object' &&
    value !== null &&
    '_malloc' in value &&
    typeof value._malloc === 'function' &&
    '_free' in value &&
    typeof value._free === 'function'
  );
}
