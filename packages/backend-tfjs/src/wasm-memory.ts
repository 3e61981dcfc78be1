import type { Tf } from './tf.js';

/** What is used of the module behind tfjs's wasm engine. */
interface WasmModule {
  _malloc(bytes: number): number;
  _free(address: number): void;
}

/** What 32-bit addresses reach. */
const HEAP_BYTES = 2 ** 32;

const guarded = new WeakSet<WasmModule>();

/**
 * Makes tfjs's wasm engine throw where its memory ends. Left alone it takes the address 0 that malloc then returns for
 * memory, and writes over the engine's own data: wrong numbers, and no error.
 */
export function guardWasmMemory(tf: Tf): void {
  const backend: object = tf.backend();
  if (!('wasm' in backend) || !isModule(backend.wasm) || guarded.has(backend.wasm)) return;
  const { wasm } = backend;
  guarded.add(wasm);
  // The first call puts the real function in place of one that looks it up.
  wasm._free(wasm._malloc(8));
  const malloc = wasm._malloc;
  wasm._malloc = (bytes) => {
    const address = bytes < HEAP_BYTES ? malloc(bytes) : 0;
    if (address !== 0) return address;
    throw new RangeError(
      `out of memory: ${bytes} bytes do not fit in the 4 GiB of WebAssembly beside what is there`,
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
